//! Events of Nexmark: persons who open auctions and bid, by the rules of nexmark/nexmark (Apache-2.0, commit 6b3646c) in words of ours.
//!
//! Of every 50 events one is a person, three are auctions and 46 are bids. Half of all bids go to one auction in a hundred, three
//! quarters of them come from one person in a hundred, and three quarters of all auctions from one seller; who is hot moves on. The
//! same seed gives the same bytes. One thing differs from upstream: the 1000 that ids begin with is added to a bidder once, not twice.

use crate::random::Chance;

/// Which of the three streams an event belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Somebody registered.
    Person,
    /// Somebody opened an auction.
    Auction,
    /// Somebody bid.
    Bid,
}

/// In the order in which every 50 events come.
const PERSONS: u64 = 1;
const AUCTIONS: u64 = 3;
const TOGETHER: u64 = 50;
/// Persons that are still about, and auctions that are still open.
const ACTIVE_PERSONS: u64 = 1_000;
const OPEN_AUCTIONS: u64 = 100;
/// Ids may be ahead of what was registered by as many.
const AHEAD: u64 = 10;
const FIRST_ID: u64 = 1_000;
const FIRST_CATEGORY: u64 = 10;
const CATEGORIES: u64 = 5;
/// One in so many is hot.
const HOT_AMONG: u64 = 100;
const CHANNELS: u64 = 10_000;
const HOT_CHANNELS: [&str; 4] = ["Google", "Facebook", "Baidu", "Apple"];
const FIRST_NAMES: [&str; 11] = ["Peter", "Paul", "Luke", "John", "Saul", "Vicky", "Kate", "Julie", "Sarah", "Deiter", "Walter"];
const LAST_NAMES: [&str; 9] = ["Shultz", "Abrams", "Spencer", "White", "Bartels", "Walton", "Smith", "Jones", "Noris"];
const CITIES: [&str; 10] =
    ["Phoenix", "Los Angeles", "San Francisco", "Boise", "Portland", "Bend", "Redmond", "Seattle", "Kent", "Cheyenne"];
const STATES: [&str; 6] = ["AZ", "CA", "ID", "OR", "WA", "WY"];

/// Events one after the other, without end.
#[derive(Debug)]
pub struct Generator {
    chance: Chance,
    number: u64,
    events_per_s: u64,
    base_ms: i64,
    /// One a channel, the hot ones last.
    urls: Vec<String>,
}

impl Generator {
    /// The first event at `base_ms`, so many a second of event time.
    pub fn new(seed: u64, events_per_s: u64, base_ms: i64) -> Self {
        let mut chance = Chance::new(seed);
        let urls = (0..CHANNELS + HOT_CHANNELS.len() as u64).map(|channel| url(&mut chance, channel)).collect();
        Self { chance, number: 0, events_per_s: events_per_s.max(1), base_ms, urls }
    }

    /// Appends the next event to `line` as one line of NDJSON, and says of which kind it is.
    pub fn next_into(&mut self, line: &mut Vec<u8>) -> Kind {
        let number = self.number;
        self.number += 1;
        let (kind, text) = match number % TOGETHER {
            0 => (Kind::Person, self.person(number)),
            rest if rest < PERSONS + AUCTIONS => (Kind::Auction, self.auction(number)),
            _ => (Kind::Bid, self.bid(number)),
        };
        line.extend_from_slice(text.as_bytes());
        kind
    }

    fn time_ms(&self, number: u64) -> i64 {
        self.base_ms + (number * 1_000 / self.events_per_s) as i64
    }

    fn person(&mut self, number: u64) -> String {
        let name = format!("{} {}", self.chance.one(&FIRST_NAMES), self.chance.one(&LAST_NAMES));
        let email = format!("{}@{}.com", word(&mut self.chance, 7, ' '), word(&mut self.chance, 5, ' '));
        let groups: Vec<String> = (0..4).map(|_| format!("{:04}", self.chance.below(10_000))).collect();
        let (card, city, state) = (groups.join(" "), self.chance.one(&CITIES), self.chance.one(&STATES));
        let size = 8 + name.len() + email.len() + card.len() + city.len() + state.len();
        let extra = filler(&mut self.chance, size, 200);
        format!(
            "{{\"seq\":{number},\"ts_ms\":{},\"id\":{},\"name\":\"{name}\",\"emailAddress\":\"{email}\",\"creditCard\":\"{card}\",\"city\":\"{city}\",\"state\":\"{state}\",\"extra\":\"{extra}\"}}\n",
            self.time_ms(number),
            FIRST_ID + last_person(number),
        )
    }

    fn auction(&mut self, number: u64) -> String {
        let now_ms = self.time_ms(number);
        let (item, description) = (word(&mut self.chance, 20, ' '), word(&mut self.chance, 100, ' '));
        let initial = price(&mut self.chance);
        let reserve = initial + price(&mut self.chance);
        let horizon_ms = (self.time_ms(number + 100 * TOGETHER / AUCTIONS) - now_ms) as u64;
        let expires_ms = now_ms + 1 + self.chance.below((2 * horizon_ms).max(1)) as i64;
        let seller =
            if self.chance.below(4) > 0 { last_person(number) / HOT_AMONG * HOT_AMONG } else { self.active_person(number) };
        let category = FIRST_CATEGORY + self.chance.below(CATEGORIES);
        let extra = filler(&mut self.chance, 8 + item.len() + description.len() + 40, 500);
        format!(
            "{{\"seq\":{number},\"ts_ms\":{now_ms},\"id\":{},\"itemName\":\"{item}\",\"description\":\"{description}\",\"initialBid\":{initial},\"reserve\":{reserve},\"expires_ms\":{expires_ms},\"seller\":{},\"category\":{category},\"extra\":\"{extra}\"}}\n",
            FIRST_ID + last_auction(number),
            FIRST_ID + seller,
        )
    }

    fn bid(&mut self, number: u64) -> String {
        let auction =
            if self.chance.below(2) > 0 { last_auction(number) / HOT_AMONG * HOT_AMONG } else { self.open_auction(number) };
        let bidder =
            if self.chance.below(4) > 0 { last_person(number) / HOT_AMONG * HOT_AMONG + 1 } else { self.active_person(number) };
        let price = price(&mut self.chance);
        let (channel, url) = if self.chance.below(2) > 0 {
            let hot = self.chance.below(HOT_CHANNELS.len() as u64);
            (HOT_CHANNELS[hot as usize].to_owned(), CHANNELS + hot)
        } else {
            let channel = self.chance.below(CHANNELS);
            (format!("channel-{channel}"), channel)
        };
        let (url, extra) = (&self.urls[url as usize], filler(&mut self.chance, 32, 100));
        format!(
            "{{\"seq\":{number},\"ts_ms\":{},\"auction\":{},\"bidder\":{},\"price\":{price},\"channel\":\"{channel}\",\"url\":\"{url}\",\"extra\":\"{extra}\"}}\n",
            self.time_ms(number),
            FIRST_ID + auction,
            FIRST_ID + bidder,
        )
    }

    /// One of the newest, or one who is about to register.
    fn active_person(&mut self, number: u64) -> u64 {
        let persons = last_person(number) + 1;
        let active = persons.min(ACTIVE_PERSONS);
        persons - active + self.chance.below(active + AHEAD)
    }

    /// One of the newest, or one that is about to be opened.
    fn open_auction(&mut self, number: u64) -> u64 {
        let last = last_auction(number);
        let first = last.saturating_sub(OPEN_AUCTIONS);
        first + self.chance.below(last - first + 1 + AHEAD)
    }
}

fn last_person(number: u64) -> u64 {
    // The one of every fifty comes first: it is there whatever the place among them.
    number / TOGETHER * PERSONS + PERSONS - 1
}

/// Only bids and auctions ask, and before the first of them there is one.
fn last_auction(number: u64) -> u64 {
    let (round, place) = (number / TOGETHER, number % TOGETHER);
    if place < PERSONS { (round * AUCTIONS).saturating_sub(1) } else { round * AUCTIONS + (place - PERSONS).min(AUCTIONS - 1) }
}

/// In cents: from 1.00 to a million, its logarithm uniform.
fn price(chance: &mut Chance) -> u64 {
    let uniform = chance.below(1 << 32) as f64 / f64::from(u32::MAX);
    (100.0 * 10_f64.powf(6.0 * uniform)).round() as u64
}

fn word(chance: &mut Chance, longest: u64, special: char) -> String {
    let length = 3 + chance.below(longest - 3);
    let text: String = (0..length).map(|_| if chance.below(13) == 0 { special } else { letter(chance) }).collect();
    text.trim().to_owned()
}

/// What brings an event of `size` bytes to `average`, give or take a fifth.
fn filler(chance: &mut Chance, size: usize, average: usize) -> String {
    let Some(wanted) = average.checked_sub(size) else { return String::new() };
    let spread = (wanted as f64 * 0.2).round() as u64;
    let length = wanted as u64 - spread + if spread > 0 { chance.below(2 * spread) } else { 0 };
    (0..length).map(|_| letter(chance)).collect()
}

fn letter(chance: &mut Chance) -> char {
    char::from(b'a' + chance.below(26) as u8)
}

fn url(chance: &mut Chance, channel: u64) -> String {
    let words: Vec<String> = (0..3).map(|_| word(chance, 5, '_')).collect();
    let mut url = format!("https://www.nexmark.com/{}/item.htm?query=1", words.join("/"));
    if channel < CHANNELS && chance.below(10) > 0 {
        let id = (channel as u32).reverse_bits() as i32;
        url.push_str(&format!("&channel_id={}", id.unsigned_abs()));
    }
    url
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use serde_json::Value;

    use super::{Generator, Kind};

    fn events(seed: u64, count: usize) -> Vec<(Kind, Value)> {
        let mut generator = Generator::new(seed, 400, 1_700_035_175_000);
        let event = |_| {
            let mut line = Vec::new();
            let kind = generator.next_into(&mut line);
            assert_eq!(line.last(), Some(&b'\n'));
            (kind, serde_json::from_slice(&line).expect("JSON"))
        };
        (0..count).map(event).collect()
    }

    fn share(events: &[(Kind, Value)], kind: Kind, holds: impl Fn(&Value) -> bool) -> f64 {
        let of_kind: Vec<&Value> = events.iter().filter(|(of, _)| *of == kind).map(|(_, event)| event).collect();
        of_kind.iter().filter(|event| holds(event)).count() as f64 / of_kind.len() as f64
    }

    #[test]
    fn the_same_seed_gives_the_same_events_and_another_others() {
        assert_eq!(events(1, 500), events(1, 500));
        assert_ne!(events(1, 500), events(2, 500));
    }

    #[test]
    fn kinds_ids_and_times_are_by_the_rules() {
        let events = events(3, 50_000);
        let count = |kind: Kind| events.iter().filter(|(of, _)| *of == kind).count();
        assert_eq!((count(Kind::Person), count(Kind::Auction), count(Kind::Bid)), (1_000, 3_000, 46_000));
        for (kind, first) in [(Kind::Person, 1_000), (Kind::Auction, 1_000)] {
            let ids = events.iter().filter(|(of, _)| *of == kind).map(|(_, event)| event["id"].as_i64().expect("an id"));
            assert!(ids.eq(first..first + count(kind) as i64), "{kind:?}: ids count up from {first}");
        }
        assert_eq!(events[400].1["ts_ms"], 1_700_035_176_000_i64);
        assert_eq!(events[401].1["ts_ms"], 1_700_035_176_002_i64);
    }

    #[test]
    fn what_is_hot_is_as_hot_as_it_should_be() {
        let events = events(4, 50_000);
        let near = |found: f64, expected: f64| assert!((found - expected).abs() < 0.03, "{found}, {expected} expected");
        // A random one is sometimes the hot one, too.
        near(share(&events, Kind::Bid, |bid| (bid["auction"].as_i64().unwrap_or(0) - 1_000) % 100 == 0), 0.505);
        near(share(&events, Kind::Bid, |bid| (bid["bidder"].as_i64().unwrap_or(0) - 1_001) % 100 == 0), 0.752);
        near(share(&events, Kind::Auction, |auction| (auction["seller"].as_i64().unwrap_or(0) - 1_000) % 100 == 0), 0.752);
        let mut channels = BTreeMap::<&str, usize>::new();
        for (_, bid) in events.iter().filter(|(kind, _)| *kind == Kind::Bid) {
            *channels.entry(bid["channel"].as_str().expect("a channel")).or_default() += 1;
        }
        near(channels["Google"] as f64 / 46_000.0, 0.125);
        let median = share(&events, Kind::Bid, |bid| bid["price"].as_i64().unwrap_or(0) < 100_000);
        near(median, 0.5);
    }
}
