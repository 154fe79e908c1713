//! A trunk's digest credentials: theirs for us (`require_auth`, `allow_users`) and ours for them
//! (`auth_user`, `auth_password`), of one realm (RFC 3261 §22, RFC 8760).

use super::reader::{Section, Value};
use super::value::{Secret, boolean, word};

/// Longest user name, realm and password, in bytes.
const LONGEST: usize = 128;

/// A user name and its password.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct User {
    /// User name.
    pub user: String,
    /// Its password.
    pub password: Secret,
}

/// Hash functions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DigestAlgorithm {
    /// MD5
    Md5,
    /// SHA-256
    Sha256,
}

/// What a trunk says of digest authentication.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Digest {
    /// Realm of our challenges, and the only one of theirs that is answered; empty where neither
    /// is configured.
    pub realm: String,
    /// Ours for them.
    pub login: Option<User>,
    /// Theirs for us; empty: nothing is asked of them.
    pub users: Vec<User>,
    /// What is offered and taken.
    pub algorithms: Vec<DigestAlgorithm>,
}

pub(super) fn read(section: &Section<'_>, brings_calls: bool) -> Digest {
    let required = section.read("require_auth", boolean).unwrap_or(false);
    let named: Vec<User> = users(section);
    if !brings_calls {
        section.refuse("allow_users", "only a trunk that brings calls has them");
        if required {
            section.fault("require_auth", "only a trunk that brings calls is asked");
        }
    } else if required && named.is_empty() && section.sections("allow_users", "user").is_empty() {
        section.fault("allow_users", "require_auth needs at least one user");
    } else if !required {
        section.refuse("allow_users", "goes with require_auth = true");
    }
    let login = login(section);
    let wanted = required || section.has("auth_user");
    let realm = section.read("realm", words);
    if wanted && !section.has("realm") {
        section.fault(
            "realm",
            "missing: require_auth and auth_user need the realm",
        );
    } else if !wanted {
        section.refuse("realm", "goes with require_auth or auth_user");
    }
    let algorithms = section.read_list(
        "auth_algorithms",
        word(&[
            ("SHA-256", DigestAlgorithm::Sha256),
            ("MD5", DigestAlgorithm::Md5),
        ]),
    );
    if algorithms.as_ref().is_some_and(Vec::is_empty) {
        section.fault("auth_algorithms", "expected at least one");
    }
    Digest {
        realm: realm.unwrap_or_default(),
        login,
        users: if required { named } else { Vec::new() },
        algorithms: algorithms
            .unwrap_or_else(|| vec![DigestAlgorithm::Sha256, DigestAlgorithm::Md5]),
    }
}

fn users(section: &Section<'_>) -> Vec<User> {
    let mut users: Vec<User> = Vec::new();
    for one in section.sections("allow_users", "user") {
        let user = one.require("user", "the user's name", words);
        let password = one.require("password", "the user's password", secret);
        let (Some(user), Some(password)) = (user, password) else {
            continue;
        };
        if users.iter().any(|other| other.user == user) {
            one.fault("user", "another user has this name already");
        }
        users.push(User { user, password });
    }
    users
}

fn login(section: &Section<'_>) -> Option<User> {
    let user = section.read("auth_user", words);
    let password = section.read("auth_password", secret);
    for (key, other) in [
        ("auth_user", "auth_password"),
        ("auth_password", "auth_user"),
    ] {
        if section.has(key) && !section.has(other) {
            section.fault(other, format!("missing: goes with {key}"));
        }
    }
    Some(User {
        user: user?,
        password: password?,
    })
}

fn words(value: &Value<'_>) -> Result<String, String> {
    let text = value.text().filter(|text| is_sound(text));
    text.map(str::to_owned)
        .ok_or_else(|| format!("a text of 1 to {LONGEST} bytes without control characters"))
}

fn secret(value: &Value<'_>) -> Result<Secret, String> {
    words(value).map(Secret::new)
}

fn is_sound(text: &str) -> bool {
    (1..=LONGEST).contains(&text.len()) && !text.chars().any(char::is_control)
}
