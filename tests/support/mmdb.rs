//! Writes MaxMind-format databases: fixtures for tests, and the small geography of the demo.

use ipnet::IpNet;
use maxminddb_writer::Database;
use maxminddb_writer::metadata::IpVersion;
use maxminddb_writer::paths::{IntoBitPath, IpAddrWithMask};
use serde::Serialize;
use serde_json::{Value, json};

/// A database under construction. Networks inserted later override earlier ones.
pub struct Writer(Database);

impl Writer {
    /// One tree for both families: IPv4 lies under `::/96`.
    pub fn both_families(built_seconds: u64) -> Self {
        Self::new(IpVersion::V6, built_seconds)
    }

    pub fn ipv4_only(built_seconds: u64) -> Self {
        Self::new(IpVersion::V4, built_seconds)
    }

    fn new(ip_version: IpVersion, built_seconds: u64) -> Self {
        let mut database = Database::default();
        database.metadata.ip_version = ip_version;
        database.metadata.binary_format_major_version = 2;
        database.metadata.build_epoch = built_seconds;
        database.metadata.database_type = "rangegate test geography".into();
        database.metadata.description.insert("en".into(), "made of documentation ranges".into());
        Self(database)
    }

    pub fn with(mut self, network: &str, record: &impl Serialize) -> Self {
        let network: IpNet = network.parse().expect("a prefix");
        let data = self.0.insert_value(record).expect("a record that the format can hold");
        let v6 = matches!(self.0.metadata.ip_version, IpVersion::V6);
        let (address, length) = match network {
            // A plain IPv4 path would land at the top of the IPv6 tree.
            IpNet::V4(network) if v6 => (network.network().to_ipv6_compatible().into(), 96 + network.prefix_len()),
            network => (network.network(), network.prefix_len()),
        };
        self.0.insert_node(IpAddrWithMask::new(address, length).into_bit_path(), data);
        self
    }

    pub fn bytes(self) -> Vec<u8> {
        self.0.write_to(Vec::new()).expect("writing to memory")
    }
}

/// A record as MaxMind and DB-IP nest it.
pub fn nested(country: &str, region: &str, city: &str, latitude: f64, longitude: f64) -> Value {
    json!({
        "country": { "iso_code": country },
        "subdivisions": [{ "iso_code": region }],
        "city": { "names": { "en": city } },
        "location": { "latitude": latitude, "longitude": longitude, "accuracy_radius": 20 },
    })
}

/// A record as the @ip-location-db packages lay it flat.
pub fn flat(country: &str, region: &str, city: &str, latitude: f64, longitude: f64) -> Value {
    json!({ "country_code": country, "state1": region, "city": city, "latitude": latitude, "longitude": longitude })
}

pub fn asn(number: u32, organisation: &str) -> Value {
    json!({ "autonomous_system_number": number, "autonomous_system_organization": organisation })
}

/// The demo's geography: documentation ranges (RFC 5737, RFC 3849) and loopback as the gateway's own town, announced by
/// documentation systems (RFC 5398). Places are real, networks and organisations are not.
pub mod demo {
    use super::{Value, Writer, asn, json, nested};

    /// 2026-08-01T00:00:00Z
    pub const BUILT_SECONDS: u64 = 1_785_542_400;

    pub struct Row {
        pub network: &'static str,
        /// Country, region, city, latitude, longitude.
        pub place: Option<(&'static str, &'static str, &'static str, f64, f64)>,
        pub asn: Option<(u32, &'static str)>,
        pub meaning: &'static str,
    }

    const PHOENIX: Option<(&str, &str, &str, f64, f64)> = Some(("US", "AZ", "Phoenix", 33.4484, -112.0740));
    const DENVER: Option<(&str, &str, &str, f64, f64)> = Some(("US", "CO", "Denver", 39.7392, -104.9903));

    #[rustfmt::skip]
    pub const ROWS: &[Row] = &[
        Row { network: "127.0.0.0/8", place: PHOENIX, asn: None, meaning: "the gateway's own town" },
        Row { network: "::1/128", place: PHOENIX, asn: None, meaning: "the gateway's own town" },
        Row { network: "198.51.100.0/26", place: PHOENIX, asn: Some((64500, "Sonoran Home Broadband")), meaning: "home lines in the gateway's town" },
        Row { network: "198.51.100.64/26", place: Some(("US", "AZ", "Tucson", 32.2226, -110.9747)), asn: Some((64500, "Sonoran Home Broadband")), meaning: "home lines 170 km away" },
        Row { network: "198.51.100.128/26", place: DENVER, asn: Some((64501, "Front Range Cable")), meaning: "home lines 940 km away" },
        Row { network: "198.51.100.192/26", place: Some(("US", "NY", "New York", 40.7128, -74.0060)), asn: Some((64502, "Hudson Fiber")), meaning: "home lines across the country" },
        Row { network: "203.0.113.0/26", place: PHOENIX, asn: Some((64505, "Mesa Cloud Hosting")), meaning: "a hosting company, on `lists/hosting.txt`" },
        Row { network: "203.0.113.64/26", place: Some(("CN", "LN", "Dandong", 40.1290, 124.3947)), asn: Some((64506, "Yalu Telecom")), meaning: "abroad, across the Pacific" },
        Row { network: "203.0.113.128/26", place: PHOENIX, asn: Some((64507, "Plainsight VPN")), meaning: "a VPN's domestic exit, on `lists/anonymizers.txt`" },
        Row { network: "203.0.113.192/26", place: Some(("GB", "ENG", "London", 51.5074, -0.1278)), asn: Some((64508, "Thames Broadband")), meaning: "abroad, across the Atlantic" },
        Row { network: "192.0.2.0/26", place: Some(("US", "HI", "Honolulu", 21.3069, -157.8583)), asn: Some((64503, "Pacific Islands Cable")), meaning: "a domestic place that a short round trip proves false" },
        Row { network: "192.0.2.64/26", place: Some(("US", "", "", 37.751, -97.822)), asn: Some((64504, "Continental Mobile")), meaning: "a country and no city: no coordinates to measure to" },
        Row { network: "192.0.2.128/26", place: Some(("RU", "PRI", "Vladivostok", 43.1155, 131.8855)), asn: Some((64509, "Amur Bay Telecom")), meaning: "abroad" },
        Row { network: "192.0.2.192/26", place: None, asn: None, meaning: "in no database" },
        Row { network: "2001:db8::/33", place: PHOENIX, asn: Some((64500, "Sonoran Home Broadband")), meaning: "home lines in the gateway's town" },
        Row { network: "2001:db8:8000::/34", place: DENVER, asn: Some((64501, "Front Range Cable")), meaning: "home lines 940 km away" },
    ];

    /// `policies/geo/places.mmdb`
    pub fn places() -> Vec<u8> {
        let placed = ROWS.iter().filter_map(|row| Some((row.network, row.place?)));
        placed
            .fold(Writer::both_families(BUILT_SECONDS), |writer, (network, place)| writer.with(network, &record(place)))
            .bytes()
    }

    /// `policies/geo/asns.mmdb`
    pub fn asns() -> Vec<u8> {
        let announced = ROWS.iter().filter_map(|row| Some((row.network, row.asn?)));
        announced
            .fold(Writer::both_families(BUILT_SECONDS), |writer, (network, (number, organisation))| {
                writer.with(network, &asn(number, organisation))
            })
            .bytes()
    }

    fn record((country, region, city, latitude, longitude): (&str, &str, &str, f64, f64)) -> Value {
        if city.is_empty() {
            let location = json!({ "latitude": latitude, "longitude": longitude, "accuracy_radius": 1000 });
            return json!({ "country": { "iso_code": country }, "location": location });
        }
        nested(country, region, city, latitude, longitude)
    }

    /// The table of `policies/geo/README.md`.
    pub fn table() -> String {
        let head = "| network | place | autonomous system | meaning |\n|---|---|---|---|\n";
        ROWS.iter().fold(head.to_owned(), |table, row| {
            let place = match row.place {
                None => "—".to_owned(),
                Some((country, _, "", _, _)) => country.to_owned(),
                Some((country, region, city, _, _)) => format!("{city}, {country}-{region}"),
            };
            let asn = row.asn.map_or("—".to_owned(), |(number, organisation)| format!("AS{number} {organisation}"));
            table + &format!("| `{}` | {place} | {asn} | {} |\n", row.network, row.meaning)
        })
    }
}
