//! `[numbering]`: how numbers are read, which are lent, how long they rest.

use super::reader::{Section, Value};
use super::trunk::emergency;
use super::value::{duration, text};
use crate::domain::numbering::Plan;
use std::time::Duration;

/// `[numbering]`
#[derive(Clone, Debug, PartialEq)]
pub struct Numbering {
    /// Zone of the API's timestamps and of calendar arithmetic.
    pub timezone: chrono_tz::Tz,
    /// Country (ISO 3166, two letters) whose national form is understood.
    pub default_country: Option<String>,
    /// Numbers and ranges to lend, as written.
    pub pool: Vec<String>,
    /// Rest before a number is leased again.
    pub cooldown: Duration,
    /// Countries that phones may be in; `["*"]`: all. Its default is already put in.
    pub allowed_targets: Vec<String>,
    /// Emergency numbers as dialled.
    pub emergency: Vec<String>,
}

const YEAR: Duration = Duration::from_secs(365 * 86_400);

pub(super) fn read(section: &Section<'_>) -> Numbering {
    let default_country = section.read("default_country", country);
    let allowed_targets = section
        .read_list("allowed_targets", |value| match value.text() {
            Some("*") => Ok("*".to_owned()),
            _ => country(value).map_err(|expected| format!("{expected}, or \"*\"")),
        })
        .unwrap_or_else(|| vec![default_country.clone().unwrap_or_else(|| "*".to_owned())]);
    if allowed_targets.is_empty() {
        section.fault(
            "allowed_targets",
            "expected at least one country, or \"*\" for all",
        );
    }
    let emergency = section
        .read_list("emergency", emergency)
        .unwrap_or_else(|| ["112", "911", "999"].map(str::to_owned).to_vec());
    let plan = Plan::new(default_country.as_deref(), &allowed_targets, &emergency);
    let plan = plan.unwrap_or_else(|wrong| {
        section.fault("default_country", wrong);
        Plan::default()
    });
    let pool = section.read_list("pool", |value| {
        let entry = text(value)?;
        match plan.parse_pool_entry(&entry) {
            Ok(_) => Ok(entry),
            Err(why) => Err(format!(
                "a number or range (\"0388880000-0388880099\", national ones need \
                 default_country; {why})"
            )),
        }
    });
    Numbering {
        timezone: section
            .read("timezone", timezone)
            .unwrap_or(chrono_tz::Tz::UTC),
        default_country,
        pool: pool.unwrap_or_default(),
        cooldown: section
            .read("cooldown", duration(Duration::ZERO, YEAR))
            .unwrap_or(Duration::from_secs(3_600)),
        allowed_targets,
        emergency,
    }
}

fn timezone(value: &Value<'_>) -> Result<chrono_tz::Tz, String> {
    value
        .text()
        .and_then(|text| text.parse().ok())
        .ok_or_else(|| "an IANA time zone (\"Asia/Kuala_Lumpur\", \"UTC\")".to_owned())
}

fn country(value: &Value<'_>) -> Result<String, String> {
    value
        .text()
        .filter(|text| text.parse::<phonenumber::country::Id>().is_ok())
        .map(str::to_owned)
        .ok_or_else(|| "a country of two capital letters (\"MY\", ISO 3166)".to_owned())
}
