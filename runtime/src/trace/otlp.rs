//! Spans to a collector by OTLP over HTTP. One that is slow or away costs spans, which are counted, and nothing else.

use super::Span;
use opentelemetry::trace::{Link, SpanContext, SpanId, SpanKind, Status, TraceFlags, TraceId, TraceState};
use opentelemetry::{InstrumentationScope, KeyValue};
use opentelemetry_otlp::{ExporterBuildError, WithExportConfig};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::{SpanData, SpanEvents, SpanExporter as _, SpanLinks};
use prunella_schemas::Timestamp;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};
use tokio::runtime::Handle;
use tokio::sync::mpsc;

/// Batches of spans that wait for the collector.
const BATCHES_MAX: usize = 64;
/// Spans of one request.
const SPANS_MAX: usize = 2_048;

/// Sends what it is given in the background. Cheap to clone.
#[derive(Clone)]
pub struct Otlp {
    sender: mpsc::Sender<Vec<Span>>,
    lost: Arc<AtomicU64>,
}

impl Otlp {
    /// To `endpoint`, such as `http://127.0.0.1:4318/v1/traces`; `None`: what the variables `OTEL_EXPORTER_OTLP_*` say.
    pub fn open(endpoint: Option<&str>, runtime: &Handle) -> Result<Self, ExporterBuildError> {
        let mut builder = opentelemetry_otlp::SpanExporter::builder().with_http();
        if let Some(endpoint) = endpoint {
            builder = builder.with_endpoint(endpoint);
        }
        let mut exporter = builder.build()?;
        exporter.set_resource(&Resource::builder().with_service_name("prunella").build());
        let (sender, mut waiting) = mpsc::channel::<Vec<Span>>(BATCHES_MAX);
        let lost = Arc::<AtomicU64>::default();
        let (scope, missed) = (InstrumentationScope::builder("prunella").build(), Arc::clone(&lost));
        runtime.spawn(async move {
            while let Some(spans) = waiting.recv().await {
                for spans in spans.chunks(SPANS_MAX) {
                    let batch = spans.iter().map(|span| data(span, &scope)).collect();
                    if let Err(e) = exporter.export(batch).await {
                        missed.fetch_add(spans.len() as u64, Ordering::Relaxed);
                        tracing::warn!(error = %e, spans = spans.len(), "the collector took no spans");
                    }
                }
            }
        });
        Ok(Otlp { sender, lost })
    }

    /// Never waits: what does not fit is lost, and counted.
    pub fn send(&self, spans: Vec<Span>) {
        let count = spans.len() as u64;
        if count > 0 && self.sender.try_send(spans).is_err() {
            self.lost.fetch_add(count, Ordering::Relaxed);
        }
    }

    /// Spans that no collector took.
    pub fn lost(&self) -> u64 {
        self.lost.load(Ordering::Relaxed)
    }
}

fn context(trace: [u8; 16], id: [u8; 8]) -> SpanContext {
    let (trace, id) = (TraceId::from_bytes(trace), SpanId::from_bytes(id));
    SpanContext::new(trace, id, TraceFlags::SAMPLED, true, TraceState::default())
}

fn data(span: &Span, scope: &InstrumentationScope) -> SpanData {
    let mut links = SpanLinks::default();
    links.links =
        span.links.iter().map(|(trace, id)| Link::new(context(*trace, *id), Vec::new(), 0)).collect();
    SpanData {
        span_context: context(span.trace, span.id),
        parent_span_id: span.parent.map_or(SpanId::INVALID, SpanId::from_bytes),
        parent_span_is_remote: span.parent.is_some(),
        span_kind: SpanKind::Consumer,
        name: span.name.clone().into(),
        start_time: time(span.start),
        end_time: time(span.end),
        attributes: span.attributes.iter().map(|(key, value)| KeyValue::new(*key, value.clone())).collect(),
        dropped_attributes_count: 0,
        events: SpanEvents::default(),
        links,
        status: Status::Unset,
        instrumentation_scope: scope.clone(),
    }
}

fn time(at: Timestamp) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_millis(u64::try_from(at.0).unwrap_or_default())
}
