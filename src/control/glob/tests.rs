//! The semantics of `fnmatch.fnmatchcase`, case by case.

use super::Glob;

/// Asserts that `pattern` matches the names in `yes` and none of those in `no`. Names are separated by
/// spaces.
fn check(pattern: &str, yes: &str, no: &str) {
    let glob = Glob::new(pattern);
    for (names, expected) in [(yes, true), (no, false)] {
        for name in names.split_whitespace() {
            assert_eq!(glob.matches(name), expected, "{pattern:?} against {name:?}");
        }
    }
}

#[test]
fn stars_and_question_marks_match_event_names() {
    check("tool.stop", "tool.stop", "tool.stops Tool.stop tool-stop tool");
    check("tool.*", "tool. tool.execution.stop", "tool Tool.x a.tool.x");
    check("*.stop", ".stop tool.stop .stop.stop", "stop tool.stop.x");
    check("*.ex*.st?p", "a.exec.stop .ex.st.stop", "a.exec.start");
    assert_eq!(Glob::new("tool.*").as_str(), "tool.*");
}

#[test]
fn wildcards_match_any_character_and_patterns_match_the_whole_name() {
    let matches = |pattern, name| Glob::new(pattern).matches(name);
    assert!(matches("", "") && matches("***", "") && !matches("", "a") && !matches("?", ""));
    assert!(matches("a*c", "a\n.c") && matches("a[!b]", "a\n") && !matches("a", "a\n"));
    assert!(matches("?", "\u{1d11e}") && !matches("?", "e\u{301}") && matches("[α-ω]*", "ωmega"));
}

#[test]
fn classes_match_one_character() {
    check("[a-cx]", "a b c x", "d - ab");
    check("[!a-cx]", "d - !", "a b c x dd");
    check("[]-]", "] -", "[ []-]");
    check("[!]]", "[ !", "]");
    check("[^a]", "^ a", "b");
    check("[[]", "[", "[[]");
    check(r"[\]x", r"\x", "x ]x");
    check("[--0]", "- . / 0", "1");
    check("[a-c-e]", "a b c - e", "d");
    check("[&&~|]", "& ~ |", "a");
}

#[test]
fn an_unclosed_class_is_literal() {
    check("[", "[", "a");
    check("[]", "[]", "[ ]");
    check("[!]", "[!]", "a");
    check("a[b*[?", "a[b[x a[bb[[", "ab[x");
}

#[test]
fn backward_ranges_are_empty() {
    check("[z-a]", "", "a m z - z-a");
    check("[!z-a]", "a m z -", "aa");
    check("[z-ax]", "x", "a z -");
    check("[b-a!x]", "a !", "x");
    check("[b-a!-x]", "a !", "- x");
    check("[b-a!- x]", "x", "! - b");
}

#[test]
fn many_stars_take_no_exponential_time() {
    let name = "a".repeat(2000);
    assert!(Glob::new(&"a*".repeat(1000)).matches(&name));
    assert!(!Glob::new(&("*a".repeat(1000) + "[b]")).matches(&name));
}

#[test]
fn parts_between_stars_are_searched_for_in_their_order() {
    check("*b*a*", "ba xbxax bba", "ab a b");
    check("*?b*", "ab abb xxb", "b ba");
    check("*??*", "ab abc", "a");
    check("*[ab]c*", "ac xbcx aac", "c ab");
    check("a*?b", "axb aab axxb", "ab axc");
    check("*[0-9]", "1 a1", "1a");
    check("?*?", "ab axb", "a");
    check("*é?*", "éa xéé", "é");
    for (pattern, searches) in
        [("a*", false), ("*a", false), ("a?b", false), ("*a*", true), ("a*?*b", false), ("*[a]*", true)]
    {
        assert_eq!(Glob::new(pattern).searches(), searches, "{pattern:?}");
    }
}

#[test]
fn characters_in_brackets_count_as_wildcards() {
    for (pattern, wildcards) in
        [("tool.stop", 0), ("a*?", 2), ("[ab]x[!c-d]", 8), ("a[b*[?", 2), ("[]ä]", 3), ("*a?*", 3 + 8 * 2)]
    {
        assert_eq!(Glob::new(pattern).wildcards(), wildcards, "{pattern:?}");
    }
}
