//! The environment variables that stand in for options.

use std::ffi::OsString;
use std::fmt;
use std::sync::Arc;

/// Looks up environment variables: those of the process, or others in tests.
#[derive(Clone)]
pub struct Environment(Arc<Lookup>);

type Lookup = dyn Fn(&str) -> Option<OsString> + Send + Sync;

impl Environment {
    /// The variables of this process.
    pub fn of_process() -> Self {
        Self(Arc::new(|name| std::env::var_os(name)))
    }

    /// These variables and no others.
    pub fn of(variables: &[(&str, &str)]) -> Self {
        let variables: Vec<(String, OsString)> =
            variables.iter().map(|&(name, value)| (name.to_owned(), value.into())).collect();
        Self(Arc::new(move |name| {
            variables.iter().find(|(known, _)| known == name).map(|(_, value)| value.clone())
        }))
    }

    /// A variable's value, also an empty one.
    pub fn raw(&self, name: &str) -> Option<OsString> {
        (self.0)(name)
    }

    /// A variable's value. As for restic, an empty variable is none.
    pub fn value(&self, name: &str) -> Option<OsString> {
        self.raw(name).filter(|value| !value.is_empty())
    }

    /// A variable's value as text.
    pub fn text(&self, name: &str) -> Option<String> {
        self.value(name).map(|value| value.to_string_lossy().into_owned())
    }
}

impl fmt::Debug for Environment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The values hold passwords.
        f.write_str("Environment")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_empty_variable_is_none() {
        let environment = Environment::of(&[("RESTIC_HOST", ""), ("RESTIC_KEY_HINT", "ab")]);
        assert_eq!(environment.text("RESTIC_HOST"), None);
        assert_eq!(environment.text("RESTIC_KEY_HINT").as_deref(), Some("ab"));
        assert_eq!(environment.text("RESTIC_PASSWORD"), None);
    }
}
