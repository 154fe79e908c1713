//! Which trunk has which place: all layers know a trunk by the place of its name, and running calls
//! remember that. So a name keeps its place for the life of the process, wherever it stands in the
//! file, and no place is ever given to a second name.

use crate::config::Trunk;
use crate::domain::TrunkId;
use std::collections::BTreeMap;

/// Most names in a process's life: each costs rows of metrics and a look at every call.
pub(super) const MOST_NAMES: u16 = 4096;

/// Trunks by place; `None` where a name is not in the file (any more).
pub type Placed<'a> = [Option<&'a Trunk>];

/// Places by name. It grows by the names that reloads bring, and no more: a name that comes back
/// has its old place. Beyond 4096 names a reload is refused.
#[derive(Clone, Debug, Default)]
pub struct Places {
    names: BTreeMap<Box<str>, TrunkId>,
}

impl Places {
    /// Gives each trunk its place, and new names the next ones.
    ///
    /// # Errors
    /// There is no place left.
    pub fn seat<'a>(&mut self, trunks: &'a [Trunk]) -> Result<Vec<Option<&'a Trunk>>, String> {
        for trunk in trunks {
            if !self.names.contains_key(trunk.name.as_str()) {
                let place = u16::try_from(self.names.len())
                    .ok()
                    .filter(|place| *place < MOST_NAMES)
                    .ok_or_else(|| {
                        format!(
                            "there were {MOST_NAMES} trunk names since the start: restart for more"
                        )
                    })?;
                self.names
                    .insert(trunk.name.as_str().into(), TrunkId(place));
            }
        }
        let mut placed = vec![None; self.names.len()];
        for trunk in trunks {
            let id = self.names.get(trunk.name.as_str());
            if let Some(place) = id.and_then(|id| placed.get_mut(usize::from(id.0))) {
                *place = Some(trunk);
            }
        }
        Ok(placed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Config, Environment};

    fn trunks(names: &[&str]) -> Vec<Trunk> {
        let mut text = "[node]\ndata_dir = \"/tmp\"\n[http]\nlisten = \"127.0.0.1:0\"\n\
                        [sip]\nlisten = [\"udp:127.0.0.1:5060\"]\n[media]\naddress = \"127.0.0.1\"\n"
            .to_owned();
        for name in names {
            text += &format!(
                "[[trunk]]\nname = {name:?}\ndirection = \"outbound\"\ntarget = \"sip:192.0.2.1\"\n"
            );
        }
        let environment = Environment {
            variable: &|_| None,
            file: &|_| Err("no files here".to_owned()),
            descriptor_limit: None,
        };
        Config::parse("test.toml", &text, &environment)
            .unwrap()
            .trunks
    }

    fn seated(places: &mut Places, names: &[&str]) -> Vec<String> {
        let trunks = trunks(names);
        let placed = places.seat(&trunks).unwrap();
        let name = |one: Option<&Trunk>| one.map_or("-".to_owned(), |trunk| trunk.name.clone());
        placed.into_iter().map(name).collect()
    }

    #[test]
    fn a_name_keeps_its_place_wherever_it_stands() {
        let mut places = Places::default();
        assert_eq!(seated(&mut places, &["a", "b", "o"]), ["a", "b", "o"]);
        assert_eq!(seated(&mut places, &["b", "a", "o"]), ["a", "b", "o"]);
        assert_eq!(
            seated(&mut places, &["new", "o", "a", "b"]),
            ["a", "b", "o", "new"]
        );
    }

    #[test]
    fn a_place_is_never_another_names() {
        let mut places = Places::default();
        seated(&mut places, &["a", "b"]);
        assert_eq!(seated(&mut places, &["b", "c"]), ["-", "b", "c"]);
        assert_eq!(seated(&mut places, &["c", "d"]), ["-", "-", "c", "d"]);
        assert_eq!(seated(&mut places, &["a", "d"]), ["a", "-", "-", "d"]);
    }

    #[test]
    fn names_without_end_are_refused() {
        let names = (0..MOST_NAMES).map(|place| (place.to_string().into(), TrunkId(place)));
        let mut places = Places {
            names: names.collect(),
        };
        assert_eq!(places.seat(&trunks(&["7"])).unwrap().len(), 4096);
        assert!(places.seat(&trunks(&["one-more"])).is_err());
        assert_eq!(places.seat(&trunks(&["7"])).unwrap().len(), 4096);
    }
}
