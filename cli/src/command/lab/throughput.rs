//! `prunella lab throughput`: OCSF bytes to verdict on one core, beside the limit: decoding the same bytes and nothing else.

use super::{median, processor_ns};
use crate::args::LabThroughput;
use crate::{App, Outcome, output};
use prunella_detect::Detect;
use prunella_schemas::{Event, Message, Record, Tenant, Timestamp};
use prunella_simulate::Traffic;
use prunella_simulate::background::background;
use serde::Serialize;
use serde::de::IgnoredAny;

/// Events decoded and judged at a time, as the pump does.
const BATCH: usize = 256;
/// The end of the first history; each further one ends two days later.
const BEGIN: Timestamp = Timestamp(1_760_000_000_000);
const HISTORY_MS: i64 = 48 * 3_600_000;
/// Times the simulator's usual rate, so that a day's retraining weighs what it weighs in a company of some size.
const SCALE: f64 = 50.0;
/// Events learnt before the clock starts: enough for a first model.
const WARM_UP_EVENTS: usize = 10_000;

#[derive(Serialize)]
struct Report {
    events: usize,
    /// Mean size of an event as OCSF JSON, its record included.
    event_bytes: usize,
    rounds: usize,
    findings: usize,
    /// Skimming the JSON without keeping anything.
    skim_ns_per_event: f64,
    /// The limit: decoding alone.
    decode_ns_per_event: f64,
    verdict_ns_per_event: f64,
    decode_events_per_s: f64,
    verdict_events_per_s: f64,
    /// How many times decoding alone the verdict takes, decoding included; the median over the rounds.
    verdict_per_decode: f64,
}

pub fn run(app: &App, args: &LabThroughput) -> anyhow::Result<Outcome> {
    let events = stream(WARM_UP_EVENTS + args.events)?;
    let report = measure(&events, WARM_UP_EVENTS, args.rounds, &app.loaded.config.detect)?;
    output::one(app.format, &report, |report| {
        format!(
            "{} events of {} bytes, {} rounds, one thread, CPU time, medians\n\
             skim the JSON     {:>7.0} ns an event\n\
             decode (limit)    {:>7.0} ns an event {:>12.0} events/s\n\
             decode and judge  {:>7.0} ns an event {:>12.0} events/s, {:.2} times the limit",
            report.events,
            report.event_bytes,
            report.rounds,
            report.skim_ns_per_event,
            report.decode_ns_per_event,
            report.decode_events_per_s,
            report.verdict_ns_per_event,
            report.verdict_events_per_s,
            report.verdict_per_decode
        )
    })?;
    Ok(Outcome::Ok)
}

/// Background of the simulator, a company of a hundred thousand events a day and more, one history after the other,
/// translated and encoded as it stands on the log.
fn stream(count: usize) -> anyhow::Result<Vec<Vec<u8>>> {
    let (mut encoded, mut events, mut history) = (Vec::with_capacity(count), Vec::new(), 0);
    while encoded.len() < count {
        let end = BEGIN.plus_ms(HISTORY_MS * history as i64);
        let traffic = Traffic { scale: SCALE, ..Traffic::new(history, end) };
        for delivery in background(&traffic) {
            let record = Record {
                source: "aws.cloudtrail".into(),
                tenant: Tenant::default(),
                received: delivery.delivered,
                origin: "lab".into(),
                body: delivery.written.body,
            };
            prunella_ingest::normalize(&record, &mut events).map_err(|dead| anyhow::anyhow!(dead.detail))?;
            encoded.extend(events.drain(..).map(|event| event.encode()));
        }
        history += 1;
    }
    encoded.truncate(count);
    Ok(encoded)
}

fn measure(
    encoded: &[Vec<u8>],
    warm_up: usize,
    rounds: usize,
    config: &prunella_detect::Config,
) -> anyhow::Result<Report> {
    let (past, encoded) = encoded.split_at(warm_up.min(encoded.len()));
    let past = decode(past)?;
    let each = |ns: u64| ns as f64 / encoded.len() as f64;
    let (mut skims, mut decodes, mut verdicts, mut findings) = (Vec::new(), Vec::new(), Vec::new(), 0);
    for _ in 0..rounds {
        let start = processor_ns();
        for bytes in encoded {
            serde_json::from_slice::<IgnoredAny>(bytes)?;
        }
        skims.push(each(processor_ns() - start));
        let start = processor_ns();
        for batch in encoded.chunks(BATCH) {
            std::hint::black_box(decode(batch)?);
        }
        decodes.push(each(processor_ns() - start));
        let mut detect = Detect::new(config.clone());
        detect.train(&past);
        findings = 0;
        let start = processor_ns();
        for batch in encoded.chunks(BATCH) {
            for event in &decode(batch)? {
                findings += detect.observe(event).findings.len();
            }
        }
        verdicts.push(each(processor_ns() - start));
    }
    let ratios = verdicts.iter().zip(&decodes).map(|(verdict, decode)| verdict / decode).collect();
    let (skim, decode, verdict) = (median(skims), median(decodes), median(verdicts));
    Ok(Report {
        events: encoded.len(),
        event_bytes: encoded.iter().map(Vec::len).sum::<usize>() / encoded.len().max(1),
        rounds,
        findings,
        skim_ns_per_event: skim,
        decode_ns_per_event: decode,
        verdict_ns_per_event: verdict,
        decode_events_per_s: 1e9 / decode,
        verdict_events_per_s: 1e9 / verdict,
        verdict_per_decode: median(ratios),
    })
}

fn decode(batch: &[Vec<u8>]) -> anyhow::Result<Vec<Event>> {
    Ok(batch.iter().map(|bytes| Event::decode(Event::VERSION, bytes)).collect::<Result<_, _>>()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_verdict_includes_the_decoding() {
        let events = stream(900).unwrap();
        let report = measure(&events, 300, 3, &prunella_detect::Config::default()).unwrap();
        assert_eq!((report.events, report.findings), (600, 0));
        assert!(report.verdict_ns_per_event > report.decode_ns_per_event);
        assert!(report.event_bytes > 1_000, "{}", report.event_bytes);
    }
}
