//! The container that this process runs in, as Datadog's agent takes it in the field `c:` of a line: the
//! agent adds the container's tags, over UDP as well.
//!
//! See <https://docs.datadoghq.com/developers/dogstatsd/datagram_shell/#dogstatsd-protocol-v12>. The id of a
//! container is sought as Datadog's own clients do: in the cgroups, then in the mounts. In a cgroup namespace
//! of its own a process sees no id; the inode of its cgroup takes its place.

use std::{fs, os::unix::fs::MetadataExt as _, path::Path};

/// The inode of the host's cgroup namespace, which is fixed (`PROC_CGROUP_INIT_INO` of Linux' `proc_ns.h`).
const HOST_NAMESPACE: u64 = 0xEFFF_FFFB;

/// The inode of a file system's root, and those that no directory has.
const LAST_RESERVED_INODE: u64 = 2;

/// `ci-` and the container's id, or `in-` and the inode of the cgroup; `None` outside a container.
pub fn detect() -> Option<String> {
    let root = Path::new("/");
    let namespace = fs::metadata(root.join("proc/self/ns/cgroup"));
    detect_in(root, namespace.is_ok_and(|namespace| namespace.ino() == HOST_NAMESPACE))
}

fn detect_in(root: &Path, is_host_namespace: bool) -> Option<String> {
    let read = |name: &str| {
        let bytes = fs::read(root.join("proc/self").join(name)).unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    };
    let cgroups = read("cgroup");
    let id = cgroups.lines().find_map(id_of_cgroup).map(ToOwned::to_owned);
    let id = id.or_else(|| read("mountinfo").lines().find_map(id_of_mount).map(ToOwned::to_owned));
    match id {
        Some(id) => Some(format!("ci-{id}")),
        None if is_host_namespace => None,
        None => inode(root, &cgroups).map(|inode| format!("in-{inode}")),
    }
}

/// The id at the end of a cgroup's path, such as `0::/system.slice/docker-<ID>.scope`.
fn id_of_cgroup(line: &str) -> Option<&str> {
    let (_, _, path) = fields(line)?;
    let name = path.rsplit('/').next()?;
    let name = name.strip_suffix(".scope").unwrap_or(name);
    let is_start = |at: &usize| name.get(*at..).is_some_and(is_id);
    // The shortest suffix that is an id: what comes before names the runtime.
    (0..name.len()).rev().find(is_start).map(|at| &name[at..])
}

/// The id in the source of a mount, such as `/var/lib/docker/containers/<ID>/hostname`.
fn id_of_mount(line: &str) -> Option<&str> {
    /// The directory of containerd's pods, whose ids are not those of containers.
    const SANDBOXES: &str = "sandboxes";
    let source = line.split_ascii_whitespace().nth(3)?;
    if !source.ends_with("hostname") {
        return None;
    }
    let names: Vec<_> = source.split('/').collect();
    let (before, id) = names.windows(2).rev().map(|pair| (pair[0], pair[1])).find(|(_, name)| is_id(name))?;
    (before != SANDBOXES).then_some(id)
}

/// The inode of the cgroup: that of the memory controller, or in version 2 the only one.
fn inode(root: &Path, cgroups: &str) -> Option<u64> {
    ["memory", ""].into_iter().find_map(|controller| {
        let (_, _, path) = cgroups.lines().filter_map(fields).find(|(_, name, _)| *name == controller)?;
        let cgroup = root.join("sys/fs/cgroup").join(controller).join(path.trim_start_matches('/'));
        let inode = fs::metadata(cgroup).ok()?.ino();
        (inode > LAST_RESERVED_INODE).then_some(inode)
    })
}

/// The fields of a line of `/proc/self/cgroup`: hierarchy, controllers and path.
fn fields(line: &str) -> Option<(&str, &str, &str)> {
    let mut fields = line.splitn(3, ':');
    Some((fields.next()?, fields.next()?, fields.next()?))
}

/// Whether a word is the id of a container: 64 digits, a UUID (Garden), or 32 digits, a hyphen and a number
/// (ECS). Digits are hexadecimal, in lower case.
fn is_id(word: &str) -> bool {
    let is_hex = |text: &str, length| {
        text.len() == length && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
    };
    let parts: Vec<_> = word.split(['-', '_']).collect();
    match parts[..] {
        [id] => is_hex(id, 64),
        [task, number] => {
            let is_number = !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit());
            is_hex(task, 32) && is_number && word.contains('-')
        }
        [_, _, _, _, _] => parts.iter().zip([8, 4, 4, 4, 12]).all(|(part, length)| is_hex(part, length)),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";
    const TASK: &str = "0123456789abcdef0123456789abcdef-1234567890";
    const UUID: &str = "01234567-89ab-cdef-0123-456789abcdef";

    /// What is found on a machine with these files.
    fn found(cgroup: &str, mountinfo: &str, is_host_namespace: bool) -> Option<String> {
        let root = tempfile::tempdir().unwrap();
        let own = root.path().join("proc/self");
        fs::create_dir_all(&own).unwrap();
        fs::write(own.join("cgroup"), cgroup).unwrap();
        fs::write(own.join("mountinfo"), mountinfo).unwrap();
        fs::create_dir_all(root.path().join("sys/fs/cgroup/memory/job")).unwrap();
        detect_in(root.path(), is_host_namespace)
    }

    #[test]
    fn the_id_is_the_end_of_a_cgroup_path() {
        for (line, id) in [
            (format!("9:memory:/docker/{ID}"), ID),
            (format!("0::/system.slice/docker-{ID}.scope"), ID),
            (
                format!("1:name=systemd:/kubepods.slice/kubepods-pod{UUID}.slice/cri-containerd-{ID}.scope"),
                ID,
            ),
            (format!("1:cpu:/ecs/cluster/{TASK}"), TASK),
            (format!("1:cpuset:/garden/{UUID}"), UUID),
        ] {
            let cgroup = format!("12:pids:/\nno fields\n{line}\n");
            assert_eq!(found(&cgroup, "", true), Some(format!("ci-{id}")), "{line}");
        }
        let short = &ID[1..];
        let upper = ID.to_uppercase();
        for other in
            ["0::/".to_owned(), format!("0::/{short}"), format!("0::/{upper}"), format!("0::/{ID}/x")]
        {
            assert_eq!(found(&other, "", true), None, "{other}");
        }
    }

    #[test]
    fn the_id_is_in_a_mount_if_the_cgroup_has_none() {
        let mount = |source: &str| format!("703 666 8:1 {source} /etc/hostname rw - ext4 /dev/vda rw\n");
        let docker = mount(&format!("/var/lib/docker/containers/{ID}/hostname"));
        assert_eq!(found("0::/\n", &docker, false), Some(format!("ci-{ID}")));
        let sandbox =
            mount(&format!("/var/lib/containerd/io.containerd.grpc.v1.cri/sandboxes/{ID}/hostname"));
        let other = mount(&format!("/var/lib/docker/containers/{ID}/resolv.conf"));
        assert_eq!(found("0::/\n", &(sandbox + &other), true), None);
    }

    #[test]
    fn a_namespace_of_its_own_has_the_inode_of_its_cgroup() {
        for cgroup in ["4:memory:/job\n0::/\n", "1:cpu:/\n0::/memory/job\n"] {
            let inode = found(cgroup, "", false).unwrap();
            assert!(inode.strip_prefix("in-").unwrap().parse::<u64>().unwrap() > 2, "{inode}");
            assert_eq!(found(cgroup, "", true), None);
        }
        assert_eq!(found("4:memory:/absent\n", "", false), None);
        assert_eq!(found("", "", false), None);
    }
}
