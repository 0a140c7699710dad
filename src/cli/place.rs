//! `POOL/BACKEND`, as operators name a backend on the command line.

use std::fmt;
use std::str::FromStr;

use super::ask::encoded;

/// A backend by its names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) pool: String,
    pub(crate) backend: String,
}

impl Place {
    /// Its path in the admin interface.
    pub(crate) fn path(&self) -> String {
        format!("/api/v1/pools/{}/backends/{}", encoded(&self.pool), encoded(&self.backend))
    }
}

impl FromStr for Place {
    type Err = String;

    /// Splits at the first slash: no pool's name has one.
    fn from_str(text: &str) -> Result<Self, String> {
        match text.split_once('/') {
            Some((pool, backend)) if !pool.is_empty() && !backend.is_empty() => {
                Ok(Self { pool: pool.to_owned(), backend: backend.to_owned() })
            }
            _ => Err("write POOL/BACKEND, as in db/10.0.0.11:5432".to_owned()),
        }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.pool, self.backend)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_a_pool_and_a_backend() {
        let place: Place = "db/[::1]:5432".parse().unwrap();
        assert_eq!((place.pool.as_str(), place.backend.as_str()), ("db", "[::1]:5432"));
        assert_eq!(place.path(), "/api/v1/pools/db/backends/%5B%3A%3A1%5D%3A5432");
        assert_eq!(place.to_string(), "db/[::1]:5432");
        for wrong in ["db", "db/", "/b1", "", "/"] {
            assert!(wrong.parse::<Place>().unwrap_err().contains("POOL/BACKEND"), "{wrong}");
        }
    }
}
