//! Named numbers in JSON, which has neither NaN nor infinity: those are written as text.

use serde::de::Error;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::collections::BTreeMap;

#[derive(Serialize, Deserialize)]
#[serde(untagged)]
enum Number {
    Finite(f64),
    Text(String),
}

/// Writes the numbers.
pub fn serialize<S: Serializer>(values: &BTreeMap<String, f64>, to: S) -> Result<S::Ok, S::Error> {
    let shown = |v: f64| if v.is_finite() { Number::Finite(v) } else { Number::Text(v.to_string()) };
    to.collect_map(values.iter().map(|(n, v)| (n, shown(*v))))
}

/// Reads them back.
pub fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<BTreeMap<String, f64>, D::Error> {
    let read = BTreeMap::<String, Number>::deserialize(from)?;
    let value = |v: Number| match v {
        Number::Finite(v) => Ok(v),
        Number::Text(t) => t.parse().map_err(|_| D::Error::custom(format!("`{t}` is not a number"))),
    };
    read.into_iter().map(|(n, v)| Ok((n, value(v)?))).collect()
}
