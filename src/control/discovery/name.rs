//! Names as operators write them, and as which names they are asked for. Pure.
#![forbid(unsafe_code)]

use hickory_proto::rr::Name;

use super::resolv_conf::ResolvConf;

/// The names that are asked for, in their order: with the search domains and as it is. A name that
/// ends with a dot is asked for only as it is.
///
/// Errors: why the name is none.
/// Source: resolv.conf(5).
pub(super) fn candidates(text: &str, conf: &ResolvConf) -> Result<Vec<Name>, &'static str> {
    let plain = text.strip_suffix('.').unwrap_or(text);
    let absolute = parse(plain)?;
    if plain.len() < text.len() {
        return Ok(vec![absolute]);
    }
    // What does not fit with its domain is left out.
    let mut names: Vec<Name> = conf
        .search
        .iter()
        .filter_map(|domain| parse(&format!("{plain}.{domain}")).ok())
        .collect();
    let dots = plain.bytes().filter(|byte| *byte == b'.').count();
    if dots >= conf.ndots as usize {
        names.insert(0, absolute);
    } else {
        names.push(absolute);
    }
    Ok(names)
}

/// Reads a name without the dot at its end.
fn parse(text: &str) -> Result<Name, &'static str> {
    if text.is_empty() {
        return Err("it is empty");
    }
    if !text.is_ascii() {
        return Err("it has letters beyond ASCII; write it in its form with xn--");
    }
    if text.len() > NAME_BYTES_MAX {
        return Err("it is longer than 253 bytes");
    }
    let is_legal = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
    for label in text.split('.') {
        if label.is_empty() {
            return Err("two of its dots have nothing between them, or it begins with one");
        }
        if label.len() > LABEL_BYTES_MAX {
            return Err("one of its parts is longer than 63 bytes");
        }
        if !label.bytes().all(is_legal) {
            return Err("it has other characters than letters, digits, `-`, `_` and dots");
        }
    }
    Name::from_labels(text.split('.').map(str::as_bytes)).map_err(|_| "it cannot be encoded")
}

/// What fits the 255 bytes of a name on the wire.
const NAME_BYTES_MAX: usize = 253;

/// What fits the six bits of a label's length.
const LABEL_BYTES_MAX: usize = 63;

#[cfg(test)]
mod tests {
    use super::*;

    fn names(text: &str, ndots: u32, search: &[&str]) -> Result<Vec<String>, &'static str> {
        let conf = ResolvConf {
            ndots,
            search: search.iter().map(ToString::to_string).collect(),
            ..ResolvConf::default()
        };
        let names = candidates(text, &conf)?;
        Ok(names.iter().map(Name::to_ascii).collect())
    }

    #[test]
    fn dots_decide_the_order() {
        let check = |text: &str, ndots, search: &[&str], expected: &[&str]| {
            let expected = expected.iter().map(ToString::to_string).collect();
            assert_eq!(names(text, ndots, search), Ok(expected), "{text}, {ndots}");
        };
        check("web", 1, &[], &["web."]);
        check("web", 1, &["a.b", "c"], &["web.a.b.", "web.c.", "web."]);
        check("web", 0, &["a.b"], &["web.", "web.a.b."]);
        check(
            "web.x",
            1,
            &["a.b", "c"],
            &["web.x.", "web.x.a.b.", "web.x.c."],
        );
        check("web.x", 2, &["a.b"], &["web.x.a.b.", "web.x."]);
        check("web.", 5, &["a.b"], &["web."]);
        check("web.x.", 1, &["a.b"], &["web.x."]);
        check(
            "_http._tcp.web",
            5,
            &["a"],
            &["_http._tcp.web.a.", "_http._tcp.web."],
        );
        check("WEB", 1, &["a..b", "c d", "ok"], &["WEB.ok.", "WEB."]);
    }

    #[test]
    fn a_domain_that_makes_the_name_too_long_is_left_out() {
        let long = vec!["a".repeat(60); 4].join(".");
        let found = names(&long, 9, &["short", "much.too.long"]).expect("a name");
        assert_eq!(found, [format!("{long}.short."), format!("{long}.")]);
    }

    #[test]
    fn what_is_no_name_is_refused_with_the_reason() {
        let check = |text: &str, part: &str| {
            let error = names(text, 1, &[]).expect_err("refused");
            assert!(error.contains(part), "{text}: {error}");
        };
        check("", "empty");
        check(".", "empty");
        check("a..b", "dots");
        check(".a", "dots");
        check("a..", "dots");
        check("b\u{fc}cher.example", "xn--");
        check("a b", "characters");
        check("a\\046b", "characters");
        check("*.example", "characters");
        check(&"a".repeat(64), "63");
        check(&vec!["a".repeat(50); 5].join("."), "253");
        assert!(names(&"a".repeat(63), 1, &[]).is_ok());
        let longest = format!("{}.{}", vec!["a".repeat(63); 3].join("."), "b".repeat(61));
        assert_eq!(longest.len(), 253);
        assert!(names(&longest, 1, &[]).is_ok());
    }
}
