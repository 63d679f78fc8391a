//! The documentation: links lead somewhere, the book has all pages, and lines are short.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Component, Path, PathBuf},
};

const ROOT: &str = env!("CARGO_MANIFEST_DIR");

/// Of prose. Tables, code, links of a line's length and generated pages have longer lines.
const MAX_COLUMNS: usize = 125;

/// All Markdown files below `path`, from the project's root.
fn documents(path: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut folders = vec![PathBuf::from(path)];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(Path::new(ROOT).join(&folder)).unwrap() {
            let entry = entry.unwrap();
            let name = entry.file_name().into_string().unwrap();
            let path = folder.join(&name);
            if entry.file_type().unwrap().is_dir() {
                let skipped = ["target", "node_modules", "opentelemetry"];
                if !name.starts_with('.') && !skipped.contains(&&*name) {
                    folders.push(path);
                }
            } else if is_page(&path) {
                found.push(path.to_str().unwrap().to_owned());
            }
        }
    }
    found.sort();
    found
}

fn is_page(path: impl AsRef<Path>) -> bool {
    path.as_ref().extension().is_some_and(|extension| extension == "md")
}

fn read(document: &str) -> String {
    fs::read_to_string(Path::new(ROOT).join(document)).unwrap()
}

/// The lines outside of code blocks, with their numbers.
fn prose(text: &str) -> Vec<(usize, &str)> {
    let mut in_code = false;
    let lines = text.lines().enumerate().filter(|(_, line)| {
        let is_fence = line.trim_start().starts_with("```");
        in_code ^= is_fence;
        !in_code && !is_fence
    });
    lines.map(|(number, line)| (number + 1, line)).collect()
}

/// The targets of links and pictures in a line.
fn links(line: &str) -> impl Iterator<Item = &str> {
    line.split("](").skip(1).filter_map(|after| after.split_once(')')).map(|(target, _)| target)
}

/// The anchors of a document's headings, as GitHub and mdBook make them.
fn anchors(text: &str) -> BTreeSet<String> {
    let mut counts = BTreeMap::new();
    let headings = prose(text).into_iter().filter(|(_, line)| line.starts_with('#'));
    let slugs = headings.map(|(_, line)| {
        let title = line.trim_start_matches('#').trim().to_lowercase().replace(' ', "-");
        let slug: String = title.chars().filter(|c| c.is_alphanumeric() || "-_".contains(*c)).collect();
        let count = counts.entry(slug.clone()).or_insert(0);
        *count += 1;
        if *count == 1 { slug } else { format!("{slug}-{}", *count - 1) }
    });
    slugs.collect()
}

/// Where a link of a document leads, from the project's root, and its anchor.
fn resolve(document: &str, target: &str) -> (String, Option<String>) {
    let (path, anchor) = target.split_once('#').map_or((target, None), |(path, anchor)| (path, Some(anchor)));
    let mut resolved = PathBuf::from(document);
    if !path.is_empty() {
        resolved.pop();
        for part in Path::new(path).components() {
            match part {
                Component::ParentDir => _ = resolved.pop(),
                part => resolved.push(part),
            }
        }
    }
    (resolved.to_str().unwrap().to_owned(), anchor.map(str::to_owned))
}

/// All links between files: document, line, target.
fn local_links(documents: &[String]) -> Vec<(String, usize, String)> {
    let mut found = Vec::new();
    for document in documents {
        for (number, line) in prose(&read(document)) {
            let local = links(line).filter(|target| !target.contains("://"));
            found.extend(local.map(|target| (document.clone(), number, target.to_owned())));
        }
    }
    found
}

#[test]
fn links_lead_to_files_and_headings() {
    let mut broken = Vec::new();
    let links = local_links(&documents(""));
    assert!(links.len() > 100, "{}", links.len());
    for (document, number, target) in links {
        let (path, anchor) = resolve(&document, &target);
        let exists = Path::new(ROOT).join(&path).exists();
        let is_heading = |anchor: String| is_page(&path) && anchors(&read(&path)).contains(&anchor);
        if !exists || anchor.is_some_and(|anchor| !is_heading(anchor)) {
            broken.push(format!("{document}:{number}: {target}"));
        }
    }
    assert!(broken.is_empty(), "{broken:#?}");
}

#[test]
fn pages_of_the_book_link_to_no_page_outside_of_it() {
    // mdBook makes `.html` of `.md`; folders stay as they are.
    let links = local_links(&documents("docs"));
    let outside = links.iter().filter(|(document, _, target)| {
        let path = resolve(document, target).0;
        is_page(&path) && !path.starts_with("docs/")
    });
    assert_eq!(outside.collect::<Vec<_>>(), Vec::<&(String, usize, String)>::new());
}

#[test]
fn the_book_has_all_pages() {
    let pages: BTreeSet<_> = documents("docs").into_iter().filter(|path| path != "docs/SUMMARY.md").collect();
    for contents in ["docs/SUMMARY.md", "docs/README.md"] {
        let linked = local_links(&[contents.to_owned()]);
        let mut linked: BTreeSet<_> =
            linked.iter().map(|(page, _, target)| resolve(page, target).0).collect();
        linked.insert("docs/README.md".to_owned());
        let missing: Vec<_> = pages.difference(&linked).collect();
        assert!(missing.is_empty(), "{contents} has no link to {missing:?}");
    }
}

#[test]
fn lines_of_prose_are_short() {
    let mut long = Vec::new();
    for document in documents("docs").into_iter().chain(["README.md".to_owned()]) {
        let generated = ["docs/performance.md", "docs/options.md"].contains(&&*document);
        for (number, line) in prose(&read(&document)) {
            let is_text = !line.starts_with(['|', '!', '#']) && line.contains(' ');
            if !generated && is_text && line.chars().count() > MAX_COLUMNS {
                long.push(format!("{document}:{number}: {}", line.chars().count()));
            }
        }
    }
    assert!(long.is_empty(), "{long:#?}");
}

#[test]
fn the_readme_is_short() {
    let lines = read("README.md").lines().count();
    assert!(lines <= 240, "README.md has {lines} lines: move text to docs/");
}

#[test]
fn anchors_are_those_of_headings() {
    let text = "# The `ps` command, and more\n## A b\n```\n# no heading\n```\n## A b\n";
    let expected = ["the-ps-command-and-more", "a-b", "a-b-1"];
    assert_eq!(anchors(text), expected.map(str::to_owned).into());
    assert_eq!(resolve("docs/a/b.md", "../c.md#d"), ("docs/c.md".to_owned(), Some("d".to_owned())));
    assert_eq!(resolve("docs/a.md", "#d").0, "docs/a.md");
}
