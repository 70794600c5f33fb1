//! Users by name: what `run-as` means in the place where a command runs (CMD-17).
//!
//! Pure: `/etc/passwd` and `/etc/group` of that place are handed in as bytes.

/// Largest `/etc/passwd` or `/etc/group` that is read, in bytes.
pub const MAX_FILE: u64 = 4 * 1024 * 1024;

/// Whom a process runs as.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct User {
    /// Number of the user.
    pub uid: u32,
    /// Number of the first group.
    pub gid: u32,
    /// Numbers of all groups, the first one among them.
    pub groups: Vec<u32>,
}

/// The user that a text names: a name, a number, or `user:group` with either in each half. `None` if there is none.
///
/// A number need not stand in `/etc/passwd`; its group is then the one of the same number. `root` need not either: images
/// without that file have a root all the same. Whoever names a group is in no other.
#[must_use]
pub fn find(text: &str, passwd: &[u8], group: &[u8]) -> Option<User> {
    let (name, wanted) = match text.split_once(':') {
        Some((name, wanted)) => (name, Some(wanted)),
        None => (text, None),
    };
    let (known, uid, gid) = account(name, passwd)?;
    if let Some(wanted) = wanted {
        let gid = group_number(wanted, group)?;
        return Some(User {
            uid,
            gid,
            groups: vec![gid],
        });
    }
    let mut groups = vec![gid];
    for number in known
        .map(|name| memberships(name, group))
        .into_iter()
        .flatten()
    {
        if !groups.contains(&number) {
            groups.push(number);
        }
    }
    Some(User { uid, gid, groups })
}

/// Name, user and group of an account. A line with that name is looked for before one with that number.
fn account<'f>(text: &str, passwd: &'f [u8]) -> Option<(Option<&'f [u8]>, u32, u32)> {
    let entries = || {
        lines(passwd).filter_map(|fields| {
            let [name, _, uid, gid, ..] = fields.as_slice() else {
                return None;
            };
            Some((*name, number(uid)?, number(gid)?))
        })
    };
    if let Some((name, uid, gid)) = entries().find(|(name, ..)| *name == text.as_bytes()) {
        return Some((Some(name), uid, gid));
    }
    if text == "root" {
        return Some((None, 0, 0));
    }
    let wanted = number(text.as_bytes())?;
    let found = entries().find(|(_, uid, _)| *uid == wanted);
    Some(match found {
        Some((name, uid, gid)) => (Some(name), uid, gid),
        None => (None, wanted, wanted),
    })
}

fn group_number(text: &str, group: &[u8]) -> Option<u32> {
    let named = lines(group).find_map(|fields| match fields.as_slice() {
        [name, _, gid, ..] if *name == text.as_bytes() => number(gid),
        _ => None,
    });
    named.or_else(|| number(text.as_bytes()))
}

/// Groups that list this user.
fn memberships<'f>(user: &[u8], group: &'f [u8]) -> impl Iterator<Item = u32> + use<'f> {
    let user = user.to_vec();
    lines(group).filter_map(move |fields| match fields.as_slice() {
        [_, _, gid, members] => members
            .split(|byte| *byte == b',')
            .any(|member| member == user)
            .then(|| number(gid))
            .flatten(),
        _ => None,
    })
}

fn lines(file: &[u8]) -> impl Iterator<Item = Vec<&[u8]>> {
    file.split(|byte| *byte == b'\n')
        .map(|line| line.split(|byte| *byte == b':').collect())
}

/// A number of a user or a group. The largest one means "nobody in particular" to the system.
fn number(text: &[u8]) -> Option<u32> {
    let text = std::str::from_utf8(text).ok()?;
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let number = text.parse().ok().filter(|_| digits)?;
    (number != u32::MAX).then_some(number)
}

#[cfg(test)]
mod tests {
    use super::*;

    const PASSWD: &[u8] = b"root:x:0:0:root:/root:/bin/sh\nbroken\nbuilder:x:1000:100::/home/builder:/bin/sh\n1001:x:7:8::/:\n";
    const GROUP: &[u8] =
        b"root:x:0:\nusers:x:100:\ndocker:x:999:other,builder\nx:x:5:builders\nagain:x:100:builder\n";

    #[test]
    fn users_are_found_by_name_and_by_number() {
        let user = |uid, gid, groups: &[u32]| {
            Some(User {
                uid,
                gid,
                groups: groups.to_vec(),
            })
        };
        let table = [
            ("root", user(0, 0, &[0])),
            ("builder", user(1000, 100, &[100, 999])),
            ("1000", user(1000, 100, &[100, 999])),
            ("1000:5", user(1000, 5, &[5])),
            ("builder:docker", user(1000, 999, &[999])),
            ("4242", user(4242, 4242, &[4242])),
            // A name that looks like a number is a name.
            ("1001", user(7, 8, &[8])),
            ("nobody", None),
            ("builder:nogroup", None),
            ("-1", None),
            ("+5", None),
            ("4294967295", None),
            ("", None),
            (":5", None),
        ];
        for (text, expected) in table {
            assert_eq!(find(text, PASSWD, GROUP), expected, "{text:?}");
        }
    }

    #[test]
    fn root_is_there_without_a_file() {
        assert_eq!(find("root", b"", b"").map(|user| user.uid), Some(0));
        assert_eq!(find("builder", b"", b""), None);
    }
}
