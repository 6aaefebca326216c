//! What is printed: against the targets, or rung by rung.

use crate::comparison::{Comparison, Row};
use crate::measure::Measured;
use crate::{Options, SELFTEST_TOLERANCE};
use rangegate_benches::spread::Spread;
use rangegate_benches::table::Table;
use rangegate_benches::{Result, machine};

/// Before the first row is measured.
pub fn head(options: &Options, compared: &Comparison) {
    println!("rangegate walk: what a request costs the gateway, user + system time of all its threads\n");
    println!("  machine   {}", machine::description());
    println!("  profile   {}", machine::profile());
    let peers: Vec<_> = compared.peers.iter().map(|peer| format!("{}: {}", peer.name, peer.version)).collect();
    println!("  peers     {}", peers.join("; "));
    println!("  pinned    gateway, load and upstream share CPU {}", options.cpu);
    let (rounds, seconds) = (options.rounds, options.seconds);
    println!("  rounds    {rounds} of about {seconds} s each, in turn (a b, b a, …); median (least–most)\n");
}

/// The first peer against the last. True: every row met its target.
pub fn targets(options: &Options, compared: &Comparison, rows: &[(&Row, Measured)]) -> Result<bool> {
    let names = compared.peers.iter().map(|peer| peer.name.as_str());
    let head: Vec<_> =
        ["CPU µs a request", "requests"].into_iter().chain(names).chain(["ratio", "target", ""]).collect();
    let mut table = Table::new(&head);
    let mut within = true;
    for (row, measured) in rows {
        let ratio = measured.ratio(0, 1).ok_or("no rounds")?;
        let good = match options.selftest {
            true => (ratio.median - 1.0).abs() <= SELFTEST_TOLERANCE,
            false => ratio.median <= row.target,
        };
        within &= good;
        table.row([
            row.what.to_owned(),
            measured.requests.to_string(),
            cell(measured.cost(0), 1),
            cell(measured.cost(1), 1),
            format!("{ratio:.2}"),
            if options.selftest { format!("1 ± {SELFTEST_TOLERANCE}") } else { format!("≤ {:.2}", row.target) },
            if good { "met" } else { "MISSED" }.to_owned(),
        ]);
    }
    println!("{table}");
    Ok(within)
}

/// Each peer beside the one below it: relay, floor, Rangegate; and the two proxies beside nginx.
pub fn rungs(compared: &Comparison, rows: &[(&Row, Measured)]) {
    // As `Comparison::start` has them.
    let [relay, floor, rangegate, nginx] = [0, 1, 2, 3];
    let names = compared.peers.iter().map(|peer| peer.name.as_str());
    let head: Vec<_> = ["CPU µs a request", "requests"].into_iter().chain(names).collect();
    let mut costs = Table::new(&head);
    let mut shares = Table::new(&[
        "of these",
        "floor − relay",
        "rangegate − floor",
        "rangegate ÷ floor",
        "floor ÷ nginx",
        "rangegate ÷ nginx",
    ]);
    for (row, measured) in rows {
        let figures = (0..compared.peers.len()).map(|peer| cell(measured.cost(peer), 1));
        costs.row([row.what.to_owned(), measured.requests.to_string()].into_iter().chain(figures));
        shares.row([
            row.what.to_owned(),
            cell(measured.beyond(floor, relay), 1),
            cell(measured.beyond(rangegate, floor), 1),
            cell(measured.ratio(rangegate, floor), 2),
            cell(measured.ratio(floor, nginx), 2),
            cell(measured.ratio(rangegate, nginx), 2),
        ]);
    }
    println!("{costs}\n{shares}");
}

/// Which thread of whom used it, where it is a tenth of a microsecond or more.
pub fn threads(compared: &Comparison, rows: &[(&Row, Measured)]) {
    let mut table = Table::new(&["of that, by thread", "µs"]);
    for (row, measured) in rows {
        for (peer, side) in compared.peers.iter().zip(&measured.sides) {
            for (thread, costs) in &side.threads {
                let cost = Spread::of(costs.iter().copied());
                if cost.is_some_and(|cost| cost.max >= 0.1) {
                    table.row([format!("{}: {}, {thread}", row.what, peer.name), cell(cost, 1)]);
                }
            }
        }
    }
    println!("{table}");
}

fn cell(spread: Option<Spread>, digits: usize) -> String {
    spread.map_or_else(|| "–".to_owned(), |spread| format!("{spread:.digits$}"))
}
