//! Enums whose list of words is not ours: AWS may add one any day.
//!
//! A word that is not in the list is kept as `Other`; it never panics and is never one of the good states
//! (rule 45), because matches on a good state name it.

/// Declares an enum over words of AWS, with `parse`, `as_str` and `Display`.
macro_rules! open_enum {
    ($(#[$doc:meta])* $name:ident { $($(#[$variant_doc:meta])* $variant:ident = $word:literal,)+ }) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
        #[serde(from = "String", into = "String")]
        pub enum $name {
            $($(#[$variant_doc])* $variant,)+
            /// A word that this build does not know: never success.
            Other(String),
        }

        impl $name {
            /// The state that AWS calls `word`.
            pub fn parse(word: &str) -> Self {
                match word {
                    $($word => Self::$variant,)+
                    other => Self::Other(other.to_owned()),
                }
            }

            /// AWS's word.
            pub fn as_str(&self) -> &str {
                match self {
                    $(Self::$variant => $word,)+
                    Self::Other(word) => word,
                }
            }
        }

        impl From<String> for $name {
            fn from(word: String) -> Self {
                Self::parse(&word)
            }
        }

        impl From<$name> for String {
            fn from(value: $name) -> Self {
                value.as_str().to_owned()
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(self.as_str())
            }
        }
    };
}
pub(crate) use open_enum;

#[cfg(test)]
mod tests {
    open_enum! {
        /// A state.
        State {
            /// Good.
            Good = "good",
        }
    }

    #[test]
    fn a_word_it_does_not_know_is_kept_and_is_no_known_state() {
        assert_eq!(State::parse("good"), State::Good);
        let new = State::parse("Good");
        assert_ne!(new, State::Good, "words are compared as AWS writes them");
        assert_eq!(new.as_str(), "Good");
        assert_eq!(serde_json::from_str::<State>("\"better\"").unwrap(), State::Other("better".to_owned()));
        assert_eq!(serde_json::to_string(&State::Good).unwrap(), "\"good\"");
    }
}
