//! Reading a secret where it is: in the configuration, in the environment or in a file.
//!
//! A value is in no message, neither here nor in what is printed of a plan.
#![forbid(unsafe_code)]

use std::env;
use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::Path;

use crate::bounds::SECRET_BYTES_MAX;
use crate::plan::admin::Secret;

/// Reads the value of a secret. One that stands in the configuration is warned about.
///
/// Errors: it is not there, cannot be read, or cannot be a token; with where it was looked for.
pub fn read(secret: &Secret) -> Result<String, String> {
    match secret {
        Secret::Inline(value) => {
            tracing::warn!(
                "the token stands in the configuration itself, where others may read it; \
                 {{ \"file\": \"/PATH\" }} or {{ \"env\": \"NAME\" }} keeps it out"
            );
            checked(value.clone().into_bytes())
        }
        Secret::Env(name) => from_variable(env::var_os(name))
            .map_err(|reason| format!("the environment variable {name}: {reason}")),
        Secret::File(path) => {
            from_file(path).map_err(|reason| format!("the file {}: {reason}", path.display()))
        }
    }
}

fn from_variable(value: Option<OsString>) -> Result<String, String> {
    let value = value.ok_or("it is not set")?;
    checked(value.into_encoded_bytes())
}

/// Anything but a regular file could make the start wait for a writer.
fn from_file(path: &Path) -> Result<String, String> {
    let in_words = |error: io::Error| error.to_string();
    if !fs::metadata(path).map_err(in_words)?.is_file() {
        return Err("it is no regular file".to_string());
    }
    let mut bytes = Vec::new();
    let file = File::open(path).map_err(in_words)?;
    let most = SECRET_BYTES_MAX as u64 + WHITE_SPACE_MAX;
    file.take(most).read_to_end(&mut bytes).map_err(in_words)?;
    // What is cut off in the middle is none, even if only white space should follow.
    if bytes.len() as u64 == most {
        return Err("it is too long".to_string());
    }
    checked(bytes)
}

/// Cuts the white space at the end: editors put a line end there.
fn checked(bytes: Vec<u8>) -> Result<String, String> {
    let value = String::from_utf8(bytes).map_err(|_| "the token must be a text".to_string())?;
    let value = value.trim_end();
    match Secret::fault(value) {
        Some(fault) => Err(fault.to_string()),
        None => Ok(value.to_string()),
    }
}

/// More bytes of white space than follow a secret.
const WHITE_SPACE_MAX: u64 = 64;

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::ffi::OsStringExt;
    use std::path::PathBuf;

    /// A file that goes with the test.
    struct Written(PathBuf);

    impl Written {
        fn new(name: &str, text: &[u8]) -> Self {
            let name = format!("ringlane-secret-{}-{name}", std::process::id());
            let path = env::temp_dir().join(name);
            fs::write(&path, text).expect("a file for the test");
            Self(path)
        }

        fn read(&self) -> Result<String, String> {
            read(&Secret::File(self.0.clone()))
        }
    }

    impl Drop for Written {
        fn drop(&mut self) {
            let _left_over = fs::remove_file(&self.0);
        }
    }

    #[test]
    fn white_space_at_the_end_does_not_count() {
        let value = Ok("a-token".to_string());
        assert_eq!(Written::new("end", b"a-token \r\n\n").read(), value);
        assert_eq!(from_variable(Some("a-token\n".into())), value);
        assert_eq!(read(&Secret::Inline("a-token".into())), value);
    }

    #[test]
    fn what_is_no_token_is_refused_with_its_place_and_without_its_value() {
        let check = |name: &str, text: &[u8], expected: &str| {
            let file = Written::new(name, text);
            let expected = format!("the file {}: {expected}", file.0.display());
            assert_eq!(file.read(), Err(expected));
        };
        check("empty", b"", "the token must not be empty");
        check("blank", b" \n\t\n", "the token must not be empty");
        check("latin", b"t\xFCr", "the token must be a text");
        let odd = "the token must have no spaces, control characters or letters beyond ASCII";
        check("lines", b"one\ntwo", odd);
        check("begin", b" one", odd);
        check("umlaut", "tür".as_bytes(), odd);
        let long = "the token must have at most 4096 bytes";
        check("long", &[b'a'; SECRET_BYTES_MAX + 1], long);
        check("endless", &[b'a'; 2 * SECRET_BYTES_MAX], "it is too long");
        assert_eq!(
            Written::new("longest", &[b'a'; SECRET_BYTES_MAX]).read(),
            Ok("a".repeat(SECRET_BYTES_MAX))
        );
    }

    #[test]
    fn what_is_not_there_is_named() {
        let said = |secret: Secret| read(&secret).expect_err("it is not there");
        assert_eq!(
            said(Secret::Env("RINGLANE_NO_SUCH_VARIABLE".into())),
            "the environment variable RINGLANE_NO_SUCH_VARIABLE: it is not set"
        );
        assert_eq!(
            said(Secret::File("/nowhere/token".into())),
            "the file /nowhere/token: No such file or directory (os error 2)"
        );
        assert_eq!(
            said(Secret::File("/dev/zero".into())),
            "the file /dev/zero: it is no regular file"
        );
        let latin = OsString::from_vec(vec![b't', 0xFC]);
        let text = Err("the token must be a text".to_string());
        assert_eq!(from_variable(Some(latin)), text);
        let empty = Err("the token must not be empty".to_string());
        assert_eq!(from_variable(Some(OsString::new())), empty);
    }

    #[test]
    fn the_environment_is_asked() {
        let name = "PATH";
        assert_eq!(
            read(&Secret::Env(name.into())),
            env::var(name).map_err(|_| String::new())
        );
    }
}
