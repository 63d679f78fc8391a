//! The resource that spans and metrics describe: <https://opentelemetry.io/docs/specs/semconv/resource/>.

use super::environment::Environment;
use super::proto::{
    common::v1::{AnyValue, InstrumentationScope, KeyValue, any_value::Value},
    resource::v1,
};
use crate::{exporter::trace_ids::Random, system::log::PROGRAM, worker::state::WorkerState};
use nix::unistd::gethostname;
use prost::Message as _;
use std::{
    env,
    sync::{Arc, LazyLock},
};

/// The attribute with the service instance's id.
const INSTANCE_ID: &str = "service.instance.id";

/// The attributes of the worker.
#[derive(Debug)]
pub struct Resource {
    /// Attributes of the environment; the last one of a name is used.
    given: Vec<(String, String)>,
    host: Option<String>,
    /// `None` in a replay.
    worker: Option<Arc<WorkerState>>,
}

impl Resource {
    /// The attributes given by the environment, and those that can be detected.
    pub fn new(given: Vec<(String, String)>, worker: Option<Arc<WorkerState>>) -> Self {
        let host = gethostname().ok().and_then(|name| name.into_string().ok());
        Self { given, host, worker }
    }

    /// The id of the service instance, as it is sent.
    pub fn instance(&self) -> &str {
        given_instance(&self.given).unwrap_or(instance_id())
    }

    /// The worker; none in a replay.
    pub fn worker(&self) -> Option<&WorkerState> {
        self.worker.as_deref()
    }

    /// The message, encoded.
    pub fn encoded(&self) -> Vec<u8> {
        self.message().encode_to_vec()
    }

    /// The message. It is made for each request because the process id is known only once the worker runs.
    fn message(&self) -> v1::Resource {
        let service = match &self.worker {
            Some(worker) => format!("unknown_service:{}", worker.program()),
            None => "unknown_service".into(),
        };
        let mut attributes = Vec::new();
        let mut set = |key: &str, value: Value| {
            let value = Some(AnyValue { value: Some(value) });
            match attributes.iter_mut().find(|attribute: &&mut KeyValue| attribute.key == key) {
                Some(attribute) => attribute.value = value,
                None => attributes.push(KeyValue { key: key.into(), value, ..KeyValue::default() }),
            }
        };
        let text = |text: &str| Value::StringValue(text.into());
        set("service.name", text(&service));
        set(INSTANCE_ID, text(self.instance()));
        if let Some(host) = &self.host {
            set("host.name", text(host));
        }
        if let Some(pid) = self.worker.as_ref().and_then(|worker| worker.pid()) {
            set("process.pid", Value::IntValue(pid.into()));
        }
        // `opentelemetry` is reserved for OpenTelemetry's SDKs.
        set("telemetry.sdk.name", text(PROGRAM));
        set("telemetry.sdk.language", text("rust"));
        set("telemetry.sdk.version", text(env!("CARGO_PKG_VERSION")));
        for (key, value) in &self.given {
            set(key, text(value));
        }
        v1::Resource { attributes, ..v1::Resource::default() }
    }
}

fn given_instance(attributes: &[(String, String)]) -> Option<&str> {
    attributes.iter().rfind(|(key, _)| key == INSTANCE_ID).map(|(_, id)| id.as_str())
}

/// The id of this process as an instance of its service: that of OTEL_RESOURCE_ATTRIBUTES, or a random one.
/// All exporters derive the same trace ids from it.
pub fn instance_id() -> &'static str {
    static ID: LazyLock<String> = LazyLock::new(|| {
        let (environment, _) = Environment::read(None, false, &|name| env::var_os(name));
        let given = given_instance(&environment.attributes).map(str::to_owned);
        given.unwrap_or_else(|| Random::default().uuid())
    });
    &ID
}

/// The instrumentation scope of all spans and metrics.
pub fn scope() -> InstrumentationScope {
    InstrumentationScope {
        name: PROGRAM.into(),
        version: env!("CARGO_PKG_VERSION").into(),
        ..InstrumentationScope::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(resource: &v1::Resource, key: &str) -> Option<String> {
        let mut all = resource.attributes.iter().filter(|attribute| attribute.key == key);
        let found = all.next().map(|attribute| match attribute.value.clone()?.value? {
            Value::StringValue(text) => Some(text),
            Value::IntValue(int) => Some(int.to_string()),
            _ => None,
        });
        assert!(all.next().is_none(), "{key} twice");
        found.flatten()
    }

    #[test]
    fn a_service_without_a_name_is_named_after_its_program() {
        let worker = Arc::new(WorkerState::new("/usr/bin/python3".as_ref()));
        let resource = Resource::new(Vec::new(), Some(Arc::clone(&worker)));
        assert_eq!(text(&resource.message(), "service.name").as_deref(), Some("unknown_service:python3"));
        assert_eq!(text(&resource.message(), "process.pid"), None);
        worker.started(42);
        assert_eq!(text(&resource.message(), "process.pid").as_deref(), Some("42"));
        let replay = Resource::new(Vec::new(), None).message();
        assert_eq!(text(&replay, "service.name").as_deref(), Some("unknown_service"));
    }

    #[test]
    fn what_is_given_counts_and_the_last_of_a_name() {
        let pair = |key: &str, value: &str| (key.to_owned(), value.to_owned());
        let given =
            vec![pair("service.name", "a"), pair("service.instance.id", "7"), pair("service.name", "b")];
        let resource = Resource::new(given, None);
        assert_eq!(resource.instance(), "7");
        let message = resource.message();
        assert_eq!(text(&message, "service.name").as_deref(), Some("b"));
        assert_eq!(text(&message, "service.instance.id").as_deref(), Some("7"));
        assert!(text(&message, "host.name").is_some());
    }
}
