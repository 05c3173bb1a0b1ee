//! Which configuration is meant: the environment's over the option's over the default.
#![forbid(unsafe_code)]

use std::env;
use std::ffi::OsString;
use std::fmt;
use std::path::{Path, PathBuf};

use crate::cli::Failure;

/// The configuration that is meant, and who says so.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Chosen {
    pub(super) path: PathBuf,
    pub(super) by: ChosenBy,
}

/// Who says which configuration is meant.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum ChosenBy {
    /// The environment, and maybe the option in vain.
    Environment { over: Option<PathBuf> },
    /// The option.
    Option,
    /// Nobody.
    Default,
}

impl fmt::Display for ChosenBy {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Environment { over: None } => write!(formatter, "named by {VARIABLE}"),
            Self::Environment { over: Some(path) } => {
                let path = path.display();
                write!(
                    formatter,
                    "named by {VARIABLE}, which goes before --config {path}"
                )
            }
            Self::Option => formatter.write_str("named by --config"),
            Self::Default => formatter.write_str("the default"),
        }
    }
}

/// Chooses a configuration.
///
/// Errors: nobody names one, and the default does not exist.
pub(super) fn choose(option: Option<&Path>) -> Result<Chosen, Failure> {
    let default = Path::new(DEFAULT);
    // If that cannot be said, reading it will say why.
    let exists = default.try_exists().unwrap_or(true);
    by_rank(variable(), option, exists.then_some(default)).ok_or_else(|| {
        Failure::Words(format!(
            "nothing says what to balance. Do one of these:\n  \
             ringlane run --config FILE       a configuration, or a folder of fragments (the \
             environment's {VARIABLE} goes before it)\n  \
             {DEFAULT}    write it; it is read if nothing else is named\n  \
             ringlane run --listen 127.0.0.1:8080 --to 127.0.0.1:9001 --to 127.0.0.1:9002"
        ))
    })
}

/// Refuses a configuration beside words that say what to balance.
///
/// Errors: there is one.
pub(super) fn refuse_beside_words(option: Option<&Path>) -> Result<(), Failure> {
    let Some(chosen) = by_rank(variable(), option, None) else {
        return Ok(());
    };
    let path = chosen.path.display();
    Err(Failure::Words(format!(
        "either --listen and --to say what to balance or a configuration does, and {path} is {}: \
         leave out the one or the other",
        chosen.by
    )))
}

fn by_rank(
    variable: Option<OsString>,
    option: Option<&Path>,
    default: Option<&Path>,
) -> Option<Chosen> {
    let option = option.map(Path::to_path_buf);
    let (path, by) = match (variable, option) {
        (Some(path), over) => (path.into(), ChosenBy::Environment { over }),
        (None, Some(path)) => (path, ChosenBy::Option),
        (None, None) => (default?.to_path_buf(), ChosenBy::Default),
    };
    Some(Chosen { path, by })
}

/// The environment's word; an empty one is none.
fn variable() -> Option<OsString> {
    env::var_os(VARIABLE).filter(|path| !path.is_empty())
}

/// The environment variable that names a configuration.
const VARIABLE: &str = "RINGLANE_CONFIG";

/// The configuration that is read if none is named.
const DEFAULT: &str = "/etc/ringlane/ringlane.json";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_environment_goes_before_the_option_and_that_before_the_default() {
        let default = Some(Path::new("/default"));
        let check = |variable: Option<&str>, option: Option<&str>, path: &str, by: ChosenBy| {
            let chosen = by_rank(variable.map(Into::into), option.map(Path::new), default);
            let path = path.into();
            assert_eq!(chosen, Some(Chosen { path, by }));
        };
        let over = Some("/option".into());
        let environment = |over| ChosenBy::Environment { over };
        check(
            Some("/variable"),
            Some("/option"),
            "/variable",
            environment(over),
        );
        check(Some("/variable"), None, "/variable", environment(None));
        check(None, Some("/option"), "/option", ChosenBy::Option);
        check(None, None, "/default", ChosenBy::Default);
        assert_eq!(by_rank(None, None, None), None);
    }
}
