//! API keys.

use std::{
    collections::{HashMap, HashSet},
    fmt,
    sync::{Arc, OnceLock},
};

use ::metrics::Counter;
use http::{HeaderMap, header::AUTHORIZATION};
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq;

use super::Problem;
use crate::{admission::Quota, batch::StreamName};

/// What an API key allows. While it is rotated, several secrets open the same.
#[derive(Debug, Clone, Default)]
pub struct Key {
    /// Its name, by which events are told apart and operators know it. Not a secret.
    pub name: String,
    /// The streams that it may write to; `None` for every one.
    pub streams: Option<HashSet<StreamName>>,
    /// Whether it may be sent in the query, where access logs keep it: browsers cannot always set headers.
    pub browser: bool,
    /// What it may send, if that is limited.
    pub quota: Option<Arc<Quota>>,
    /// Requests that came with it, once there was one. It goes with the policy that the key stands in.
    pub requests: OnceLock<Counter>,
}

/// The SHA-256 of a secret.
pub type Digest = [u8; 32];

/// The keys of this instance.
///
/// A key is looked up by its SHA-256 and then compared in constant time, so that nothing about the keys that exist can
/// be learned from how long an answer takes. The secrets themselves are not here.
pub struct Keyring {
    keys: Vec<Arc<Key>>,
    /// By the digest of each secret: that, and which of the keys it opens.
    secrets: HashMap<Digest, (Digest, Arc<Key>)>,
    anonymous: Option<Arc<Key>>,
}

/// Where a request carries its key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    Header,
    Query,
}

impl Keyring {
    /// The keys, each with the digests of its secrets. Without any, every request is allowed everything: that is for
    /// loopback, and the configuration refuses it elsewhere.
    pub fn new(keys: impl IntoIterator<Item = (Key, Vec<Digest>)>) -> Self {
        let mut all = Vec::new();
        let mut secrets = HashMap::new();
        for (key, digests) in keys {
            let key = Arc::new(key);
            secrets.extend(digests.into_iter().map(|digest| (digest, (digest, Arc::clone(&key)))));
            all.push(key);
        }
        let anonymous = all.is_empty().then(Arc::default);
        Self { keys: all, secrets, anonymous }
    }

    /// Every key, once each.
    pub fn keys(&self) -> impl Iterator<Item = &Key> {
        self.keys.iter().map(AsRef::as_ref)
    }

    /// Whether any key may be used by a browser, so that one may ask before it sends.
    pub fn has_browser_keys(&self) -> bool {
        self.anonymous.is_some() || self.keys().any(|key| key.browser)
    }

    /// The key that a request carries.
    ///
    /// # Errors
    /// [`Problem::MissingKey`], [`Problem::UnknownKey`] or [`Problem::KeyNotForQuery`].
    pub fn find(&self, headers: &HeaderMap, query: Option<&str>) -> Result<Arc<Key>, Problem> {
        if let Some(anonymous) = &self.anonymous {
            return Ok(Arc::clone(anonymous));
        }
        let (place, secret) = secret(headers, query).ok_or(Problem::MissingKey)?;
        let digest: Digest = Sha256::digest(&secret).into();
        let found = self.secrets.get(&digest).filter(|(known, _)| bool::from(known.ct_eq(&digest)));
        let (_, key) = found.ok_or(Problem::UnknownKey)?;
        if place == Place::Query && !key.browser { Err(Problem::KeyNotForQuery) } else { Ok(Arc::clone(key)) }
    }
}

impl Key {
    /// Whether it may write to `stream`.
    pub fn allows(&self, stream: &str) -> bool {
        self.streams.as_ref().is_none_or(|streams| streams.contains(stream))
    }
}

impl fmt::Debug for Keyring {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(&self.keys).finish()
    }
}

impl Default for Keyring {
    /// Without a key.
    fn default() -> Self {
        Self::new([])
    }
}

fn secret(headers: &HeaderMap, query: Option<&str>) -> Option<(Place, Vec<u8>)> {
    let bearer = headers.get(AUTHORIZATION).and_then(|value| {
        let (scheme, token) = value.as_bytes().split_at_checked(7)?;
        scheme.eq_ignore_ascii_case(b"bearer ").then(|| token.trim_ascii())
    });
    let header = bearer.or_else(|| headers.get("x-api-key").map(http::HeaderValue::as_bytes));
    if let Some(secret) = header.filter(|secret| !secret.is_empty()) {
        return Some((Place::Header, secret.to_vec()));
    }
    let value = query?.split('&').find_map(|pair| pair.strip_prefix("key="))?;
    Some((Place::Query, percent_decoded(value)))
}

/// `text` with `%XX` and `+` read as a form spells them; anything else stays.
fn percent_decoded(text: &str) -> Vec<u8> {
    let mut bytes = text.bytes();
    let mut decoded = Vec::with_capacity(text.len());
    while let Some(byte) = bytes.next() {
        let hex = bytes.as_slice_hex();
        match (byte, hex) {
            (b'%', Some(value)) => {
                decoded.push(value);
                bytes.nth(1);
            }
            (b'+', _) => decoded.push(b' '),
            _ => decoded.push(byte),
        }
    }
    decoded
}

/// The number that the next two characters spell in hexadecimal.
trait NextHex {
    fn as_slice_hex(&self) -> Option<u8>;
}

impl NextHex for std::str::Bytes<'_> {
    fn as_slice_hex(&self) -> Option<u8> {
        let mut ahead = self.clone();
        let mut digit = || char::from(ahead.next()?).to_digit(16);
        Some((digit()? * 16 + digit()?) as u8)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECRET: &str = "s3cret/with+odd=chars";
    const NEXT: &str = "the-next-s3cret-012";
    const BROWSER: &str = "browser-key-0123456";

    fn digest(secret: &str) -> Digest {
        Sha256::digest(secret).into()
    }

    fn keyring() -> Keyring {
        let heard = StreamName::new("heard").unwrap();
        let sdk = Key { name: "sdk".into(), streams: Some([heard].into()), ..Key::default() };
        let web = Key { name: "web".into(), browser: true, ..Key::default() };
        Keyring::new([(sdk, vec![digest(SECRET), digest(NEXT)]), (web, vec![digest(BROWSER)])])
    }

    fn find(header: Option<(&str, &str)>, query: Option<&str>) -> Result<String, Problem> {
        let mut headers = HeaderMap::new();
        if let Some((name, value)) = header {
            headers.insert(http::HeaderName::from_bytes(name.as_bytes()).unwrap(), value.parse().unwrap());
        }
        keyring().find(&headers, query).map(|key| key.name.clone())
    }

    #[test]
    fn a_key_is_found_in_three_places() {
        assert_eq!(find(Some(("authorization", &format!("Bearer {SECRET}"))), None).as_deref(), Ok("sdk"));
        assert_eq!(find(Some(("authorization", &format!("bearer  {SECRET} "))), None).as_deref(), Ok("sdk"));
        assert_eq!(find(Some(("x-api-key", SECRET)), None).as_deref(), Ok("sdk"));
        assert_eq!(find(None, Some(&format!("a=1&key={BROWSER}"))).as_deref(), Ok("web"));
        assert_eq!(find(None, Some("key=browser%2dkey%2D0123456")).as_deref(), Ok("web"));
        assert_eq!(find(Some(("authorization", "Basic x")), Some(&format!("key={BROWSER}"))).as_deref(), Ok("web"));
    }

    #[test]
    fn two_secrets_open_one_key() {
        assert_eq!(find(Some(("x-api-key", NEXT)), None).as_deref(), Ok("sdk"));
        assert_eq!(keyring().keys().map(|key| key.name.as_str()).collect::<Vec<_>>(), ["sdk", "web"]);
    }

    #[test]
    fn a_missing_an_unknown_and_a_misplaced_key_are_told_apart() {
        assert_eq!(find(None, None), Err(Problem::MissingKey));
        assert_eq!(find(None, Some("k=1")), Err(Problem::MissingKey));
        assert_eq!(find(Some(("x-api-key", "")), None), Err(Problem::MissingKey));
        assert_eq!(find(Some(("x-api-key", "s3cret")), None), Err(Problem::UnknownKey));
        assert_eq!(find(Some(("x-api-key", "wrong")), Some(&format!("key={BROWSER}"))), Err(Problem::UnknownKey));
        let misplaced = find(None, Some("key=s3cret%2fwith%2bodd%3Dchars"));
        assert_eq!(misplaced, Err(Problem::KeyNotForQuery));
    }

    #[test]
    fn a_key_writes_to_its_streams_and_without_keys_everybody_may() {
        let keys = keyring();
        let mut headers = HeaderMap::new();
        headers.insert("x-api-key", SECRET.parse().unwrap());
        let sdk = keys.find(&headers, None).unwrap();
        assert!(sdk.allows("heard") && !sdk.allows("seen"));
        let open = Keyring::new([]).find(&HeaderMap::new(), None).unwrap();
        assert!(open.allows("anything") && open.name.is_empty());
    }

    #[test]
    fn percent_decoding_leaves_what_it_does_not_understand() {
        for (text, decoded) in [("a%20b+c", "a b c"), ("%", "%"), ("%2", "%2"), ("%zz", "%zz"), ("%41%", "A%")] {
            assert_eq!(percent_decoded(text), decoded.as_bytes(), "{text}");
        }
    }

    #[test]
    fn a_keyring_is_printed_without_its_secrets() {
        let printed = format!("{:?}", keyring());
        assert!(printed.contains("sdk") && !printed.contains("s3cret") && !printed.contains(BROWSER), "{printed}");
    }
}
