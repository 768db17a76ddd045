//! A day in virtual time, in which receivers fail in the ways real ones do: `cargo run --release --example day [SEED]`.
//!
//! Then the same day once more with all of them well, to show that those that are well anyway don't notice the others.

use tidings_server::rules::simulation::Day;
use tidings_server::rules::simulation::receivers::Kind;

fn main() {
    let seed = std::env::args().nth(1).and_then(|seed| seed.parse().ok()).unwrap_or(1);
    let day = Day { seed, tenants: 10_000, events: 5_000_000, imported: 50_000, sick: true };
    let sick = day.pass();
    println!("{sick}");
    let well = Day { sick: false, ..day }.pass();
    println!("those that are well: median, 99th percentile and longest time to delivery in ms");
    for (report, beside) in [(&sick, "beside the sick"), (&well, "all being well")] {
        let [median, most, longest] = report.row(Kind::Well).times.map(|micros| micros as f64 / 1_000.0);
        println!("{beside:<20}{median:>9.1}{most:>9.1}{longest:>9.1}");
    }
}
