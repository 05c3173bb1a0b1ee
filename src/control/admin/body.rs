//! The bodies of requests: JSON objects, of which every key has to be known and to be given once.
#![forbid(unsafe_code)]

use std::fmt;

use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::Value;

use crate::bounds::{NAME_BYTES_MAX, PRIORITY_MAX, WEIGHT_MAX};
use crate::control::admin::fault::{Fault, shown};
use crate::control::request::Change;
use crate::plan::EndpointPlan;
use crate::plan::place::Place;
use crate::standing::AdminState;

/// Reads a new endpoint.
///
/// Errors: the first thing that is wrong.
pub(super) fn endpoint(bytes: &[u8]) -> Result<EndpointPlan, Fault> {
    let object = Object::read(bytes, &ENDPOINT_KEYS)?;
    let address = object.get("address").ok_or_else(|| {
        let detail = "it is missing; expected HOST:PORT or unix:/PATH in quotes";
        Fault::invalid(Some("address"), detail)
    })?;
    let mut endpoint = EndpointPlan::at(place(address)?);
    endpoint.name = object.read_key("name", name)?;
    if let Some(weight) = object.read_key("weight", weight)? {
        endpoint.weight = weight;
    }
    match object.read_key("state", state)? {
        None | Some(AdminState::Enabled) => {}
        Some(AdminState::Disabled) => endpoint.enabled = false,
        Some(AdminState::Draining) => {
            let detail = "a new endpoint has no sessions to drain; expected enabled or disabled";
            return Err(Fault::invalid(Some("state"), detail));
        }
    }
    endpoint.max_connections = object
        .read_key("max_connections", connections)?
        .unwrap_or_default();
    if let Some(priority) = object.read_key("priority", priority)? {
        endpoint.priority = priority;
    }
    if let Some(backup) = object.read_key("backup", flag)? {
        endpoint.backup = backup;
    }
    Ok(endpoint)
}

/// Reads what is to be otherwise about an endpoint.
///
/// Errors: the first thing that is wrong.
pub(super) fn change(bytes: &[u8]) -> Result<Change, Fault> {
    let object = Object::read(bytes, &CHANGE_KEYS)?;
    let change = Change {
        weight: object.read_key("weight", weight)?,
        state: object.read_key("state", state)?,
    };
    if change == Change::default() {
        return Err(Fault::invalid(None, "expected weight, state or both"));
    }
    Ok(change)
}

/// The pairs of an object as they stand there.
struct Object {
    pairs: Vec<(String, Value)>,
}

impl Object {
    fn read(bytes: &[u8], known: &[&str]) -> Result<Self, Fault> {
        let text = str::from_utf8(bytes)
            .map_err(|error| Fault::invalid(None, format!("the body is not UTF-8: {error}")))?;
        let object: Self = serde_json::from_str(text).map_err(|error| {
            Fault::invalid(None, format!("the body is not as expected: {error}"))
        })?;
        for (position, (key, _)) in object.pairs.iter().enumerate() {
            if !known.contains(&key.as_str()) {
                let expected = known.join(", ");
                let detail = format!("unknown key `{}`; expected {expected}", shown(key));
                return Err(Fault::invalid(Some(key), detail));
            }
            // All keys before are known and different, so there are few.
            if object.pairs[..position]
                .iter()
                .any(|(earlier, _)| earlier == key)
            {
                return Err(Fault::invalid(Some(key), "it is given twice"));
            }
        }
        Ok(object)
    }

    fn get(&self, key: &str) -> Option<&Value> {
        let pair = self.pairs.iter().find(|(known, _)| known == key);
        pair.map(|(_, value)| value)
    }

    fn read_key<T>(
        &self,
        key: &str,
        read: impl FnOnce(&Value) -> Result<T, String>,
    ) -> Result<Option<T>, Fault> {
        let Some(value) = self.get(key) else {
            return Ok(None);
        };
        read(value)
            .map(Some)
            .map_err(|detail| Fault::invalid(Some(key), detail))
    }
}

impl<'de> Deserialize<'de> for Object {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(Pairs)
    }
}

struct Pairs;

impl<'de> Visitor<'de> for Pairs {
    type Value = Object;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("an object, `{ ... }`")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Object, A::Error> {
        let mut pairs = Vec::new();
        while let Some(pair) = map.next_entry()? {
            pairs.push(pair);
        }
        Ok(Object { pairs })
    }
}

/// An address: a name would have to be looked up again and again, which is the configuration's.
fn place(value: &Value) -> Result<Place, Fault> {
    let wrong = |detail: String| Fault::invalid(Some("address"), detail);
    let Value::String(text) = value else {
        return Err(wrong(expected("HOST:PORT or unix:/PATH in quotes", value)));
    };
    match text.parse() {
        Ok(place @ (Place::Address(_) | Place::Unix(_))) if !text.contains('\0') => Ok(place),
        Ok(Place::Host(..) | Place::Service(_)) => Err(wrong(format!(
            "`{}` has a name for an address; names belong into the configuration",
            shown(text)
        ))),
        Ok(_) => Err(wrong("a path has no zero byte".to_string())),
        // The reason repeats the text, which may be long.
        Err(_) if text.len() > ADDRESS_BYTES_MAX => Err(wrong(format!(
            "expected HOST:PORT or unix:/PATH, found `{}`",
            shown(text)
        ))),
        Err(reason) => Err(wrong(reason)),
    }
}

fn name(value: &Value) -> Result<String, String> {
    let what = format!("a name of 1 to {NAME_BYTES_MAX} bytes without control characters");
    match value {
        Value::String(name)
            if (1..=NAME_BYTES_MAX).contains(&name.len())
                && !name.chars().any(char::is_control) =>
        {
            Ok(name.clone())
        }
        _ => Err(expected(&what, value)),
    }
}

fn weight(value: &Value) -> Result<u32, String> {
    let number = value.as_u64().and_then(|number| u32::try_from(number).ok());
    let number = number.filter(|number| *number <= WEIGHT_MAX);
    number.ok_or_else(|| expected(&format!("a whole number from 0 to {WEIGHT_MAX}"), value))
}

/// Nothing is no limit, as in answers.
fn connections(value: &Value) -> Result<Option<u32>, String> {
    if value.is_null() {
        return Ok(None);
    }
    let number = value.as_u64().and_then(|number| u32::try_from(number).ok());
    match number {
        Some(number) if number > 0 => Ok(Some(number)),
        _ => {
            let what = format!("a whole number from 1 to {}, or null", u32::MAX);
            Err(expected(&what, value))
        }
    }
}

fn priority(value: &Value) -> Result<u16, String> {
    let number = value.as_u64().and_then(|number| u16::try_from(number).ok());
    let number = number.filter(|number| *number <= PRIORITY_MAX);
    number.ok_or_else(|| expected(&format!("a whole number from 0 to {PRIORITY_MAX}"), value))
}

fn flag(value: &Value) -> Result<bool, String> {
    value
        .as_bool()
        .ok_or_else(|| expected("true or false", value))
}

fn state(value: &Value) -> Result<AdminState, String> {
    let word = value.as_str();
    let mut states = AdminState::ALL.into_iter();
    let state = states.find(|state| Some(state.word()) == word);
    state.ok_or_else(|| expected("enabled, draining or disabled", value))
}

fn expected(what: &str, value: &Value) -> String {
    let found = match value {
        Value::Null => "null".to_string(),
        Value::Bool(flag) => flag.to_string(),
        Value::Number(number) => shown(&number.to_string()),
        Value::String(text) => format!("\"{}\"", shown(text)),
        Value::Array(_) => "a list".to_string(),
        Value::Object(_) => "an object".to_string(),
    };
    format!("expected {what}, found {found}")
}

const ENDPOINT_KEYS: [&str; 7] = [
    "address",
    "name",
    "weight",
    "state",
    "max_connections",
    "priority",
    "backup",
];
const CHANGE_KEYS: [&str; 2] = ["weight", "state"];

/// No address and no path is longer.
const ADDRESS_BYTES_MAX: usize = 256;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn endpoints_are_read() {
        let check = |text: &str, expected: EndpointPlan| {
            assert_eq!(endpoint(text.as_bytes()), Ok(expected), "{text}");
        };
        let at = |text: &str| EndpointPlan::at(text.parse().expect("a place"));
        check(r#"{"address":"10.0.0.3:80"}"#, at("10.0.0.3:80"));
        check(r#" {"address":"[::1]:80"} "#, at("[::1]:80"));
        check(r#"{"address":"unix:/run/a.sock"}"#, at("unix:/run/a.sock"));
        let everything = r#"{"address":"10.0.0.3:80","name":"c","weight":10000,"state":"disabled",
            "max_connections":4294967295,"priority":255,"backup":true}"#;
        let expected = EndpointPlan {
            name: Some("c".into()),
            weight: 10_000,
            enabled: false,
            max_connections: Some(u32::MAX),
            priority: PRIORITY_MAX,
            backup: true,
            ..at("10.0.0.3:80")
        };
        check(everything, expected);
        let least = r#"{"address":"10.0.0.3:80","weight":0,"state":"enabled","priority":0,
            "max_connections":null,"backup":false}"#;
        let expected = EndpointPlan {
            weight: 0,
            ..at("10.0.0.3:80")
        };
        check(least, expected);
    }

    #[test]
    fn wrong_endpoints_are_refused_by_field() {
        let check = |rest: &str, field: &str, part: &str| {
            let text = format!(r#"{{"address":"10.0.0.3:80",{rest}}}"#);
            let fault = endpoint(text.as_bytes()).expect_err("refused");
            assert_eq!(fault.status.as_u16(), 400);
            assert_eq!(fault.field.as_deref(), Some(field), "{rest}");
            assert!(fault.detail.contains(part), "{rest}: {}", fault.detail);
        };
        check(r#""wieght":3"#, "wieght", "expected address, name");
        check(r#""weight":3,"weight":3"#, "weight", "twice");
        check(r#""address":"10.0.0.4:80""#, "address", "twice");
        for weight in ["-1", "10001", "1.5", "\"3\"", "null", "true", "[]", "{}"] {
            check(&format!(r#""weight":{weight}"#), "weight", "0 to 10000");
        }
        check(r#""weight":99999999999999999999"#, "weight", "0 to 10000");
        check(r#""state":"draining""#, "state", "no sessions to drain");
        check(r#""state":"up""#, "state", "enabled, draining or disabled");
        check(r#""state":1"#, "state", "found 1");
        check(r#""max_connections":0"#, "max_connections", "from 1");
        check(
            r#""max_connections":4294967296"#,
            "max_connections",
            "from 1",
        );
        check(r#""priority":256"#, "priority", "0 to 255");
        check(r#""backup":"yes""#, "backup", "true or false");
        check(r#""name":"""#, "name", "1 to 128");
        check(r#""name":"a\nb""#, "name", "control");
        check(r#""name":null"#, "name", "found null");
        let long = "x".repeat(NAME_BYTES_MAX + 1);
        check(&format!(r#""name":"{long}""#), "name", "…");
        check(&format!(r#""{long}":1"#), &shown(&long), "unknown key");
    }

    #[test]
    fn addresses_are_addresses() {
        let check = |address: &str, part: &str| {
            let text = format!(r#"{{"address":{address}}}"#);
            let fault = endpoint(text.as_bytes()).expect_err("refused");
            assert_eq!(fault.field.as_deref(), Some("address"), "{address}");
            assert!(fault.detail.contains(part), "{address}: {}", fault.detail);
            assert!(fault.detail.len() < 300);
        };
        check(
            "\"db.internal:5432\"",
            "names belong into the configuration",
        );
        check("\"localhost:80\"", "names belong into the configuration");
        check("\"10.0.0.3\"", "HOST:PORT");
        check("\"10.0.0.3:0\"", "HOST:PORT");
        check("\"http://10.0.0.3:80\"", "write 10.0.0.3:80");
        check("\"unix:a.sock\"", "absolute path");
        check("\"unix:/a\\u0000b\"", "zero byte");
        check("\"\"", "HOST:PORT");
        check("7", "found 7");
        check(&format!("\"{}\"", "x".repeat(60_000)), "…");
        let fault = endpoint(b"{}").expect_err("refused");
        assert_eq!(fault.field.as_deref(), Some("address"));
    }

    #[test]
    fn changes_are_read() {
        let check = |text: &str, weight: Option<u32>, state: Option<AdminState>| {
            let expected = Change { weight, state };
            assert_eq!(change(text.as_bytes()), Ok(expected), "{text}");
        };
        check(r#"{"weight":3}"#, Some(3), None);
        check(r#"{"weight":0}"#, Some(0), None);
        for state in AdminState::ALL {
            let word = state.word();
            check(&format!(r#"{{"state":"{word}"}}"#), None, Some(state));
        }
        check(
            r#"{"state":"draining","weight":1}"#,
            Some(1),
            Some(AdminState::Draining),
        );
        let wrong = |text: &str, field: Option<&str>| {
            let fault = change(text.as_bytes()).expect_err("refused");
            assert_eq!(fault.field.as_deref(), field, "{text}");
        };
        wrong("{}", None);
        wrong(r#"{"address":"10.0.0.3:80"}"#, Some("address"));
        wrong(r#"{"weight":1,"name":"b"}"#, Some("name"));
        wrong(r#"{"state":"Enabled"}"#, Some("state"));
        wrong(r#"{"weight":1,"weight":2}"#, Some("weight"));
        wrong(r#"{"weight":null}"#, Some("weight"));
    }

    #[test]
    fn what_is_no_object_is_refused() {
        let deep = "[".repeat(60_000);
        let deep_value = format!(r#"{{"weight":{deep}"#);
        let bodies: [&[u8]; 14] = [
            b"",
            b" ",
            b"null",
            b"7",
            b"[]",
            b"[{\"weight\":1}]",
            b"\"weight\"",
            b"{",
            b"{\"weight\":1",
            b"{\"weight\":1}}",
            b"{\"weight\":1} {}",
            b"{\"weight\":1,}",
            b"{\"weight\":1e400}",
            b"{\"weight\":\xff}",
        ];
        for bytes in bodies
            .into_iter()
            .chain([deep.as_bytes(), deep_value.as_bytes()])
        {
            let fault = change(bytes).expect_err("refused");
            assert_eq!(fault.status.as_u16(), 400);
            assert_eq!((fault.word, &fault.field), ("invalid", &None));
            assert!(!fault.detail.is_empty());
        }
        let fault = change(b"{\"\xff\":1}").expect_err("refused");
        assert!(fault.detail.contains("UTF-8"), "{}", fault.detail);
    }
}
