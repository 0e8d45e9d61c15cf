//! The constants that C guests see. `cargo xtask header` writes the C header from this list.

use bulkhead_abi::{health, hypercall, info, port, status, trace};

/// One constant of the C header.
pub struct Constant {
    /// Name, `BULKHEAD_` not included.
    pub name: &'static str,
    /// Value; status codes are sign-extended.
    pub value: u64,
}

macro_rules! constants {
    ($($name:ident = $value:expr;)*) => {
        &[$(Constant { name: stringify!($name), value: $value as u64 }),*]
    };
}

/// Every constant, in the order of the header.
pub const CONSTANTS: &[Constant] = constants! {
    ABI_VERSION = bulkhead_abi::ABI_VERSION;
    HVC_UID_QUERY = hypercall::UID_QUERY;
    HVC_REVISION = hypercall::REVISION;
    UID_0 = hypercall::UID[0];
    UID_1 = hypercall::UID[1];
    UID_2 = hypercall::UID[2];
    UID_3 = hypercall::UID[3];
    HVC_FEATURES = hypercall::FEATURES;
    HVC_INFO_REGION = hypercall::INFO_REGION;
    HVC_CONSOLE_WRITE = hypercall::CONSOLE_WRITE;
    HVC_CONSOLE_READ = hypercall::CONSOLE_READ;
    HVC_DOORBELL = hypercall::DOORBELL;
    HVC_SET_MODE = hypercall::SET_MODE;
    HVC_RAISE_EVENT = hypercall::RAISE_EVENT;
    HVC_WATCHDOG_KICK = hypercall::WATCHDOG_KICK;
    HVC_PARTITION_CONTROL = hypercall::PARTITION_CONTROL;
    HVC_SYSTEM_RESET = hypercall::SYSTEM_RESET;
    HVC_IDLE = hypercall::IDLE;
    HVC_PLAN_SET = hypercall::PLAN_SET;
    HVC_PLAN_STATUS = hypercall::PLAN_STATUS;
    HVC_PV_TIME_FEATURES = hypercall::PV_TIME_FEATURES;
    HVC_PV_TIME_ST = hypercall::PV_TIME_ST;
    CONSOLE_WRITE_MAX = hypercall::CONSOLE_WRITE_MAX;
    TARGET_SELF = hypercall::TARGET_SELF;
    CONTROL_STATUS = hypercall::control::STATUS;
    CONTROL_SUSPEND = hypercall::control::SUSPEND;
    CONTROL_RESUME = hypercall::control::RESUME;
    CONTROL_HALT = hypercall::control::HALT;
    CONTROL_RESTART = hypercall::control::RESTART;
    CONTROL_WARM_RESTART = hypercall::control::WARM_RESTART;
    CONTROL_SHUTDOWN = hypercall::control::SHUTDOWN;
    STATUS_SUCCESS = status::SUCCESS;
    STATUS_NOT_SUPPORTED = status::NOT_SUPPORTED;
    STATUS_INVALID_PARAMETER = status::INVALID_PARAMETER;
    STATUS_DENIED = status::DENIED;
    STATUS_NOT_AVAILABLE = status::NOT_AVAILABLE;
    STATUS_NO_ACTION = status::NO_ACTION;
    STATUS_NO_PERSISTENT_REGION = status::NO_PERSISTENT_REGION;
    STATUS_NOT_RESTARTABLE = status::NOT_RESTARTABLE;
    PAGE_BYTES = bulkhead_abi::PAGE_BYTES;
    INFO_ABI_VERSION = info::dynamic::ABI_VERSION;
    INFO_START_COUNT = info::dynamic::START_COUNT;
    INFO_START_CONDITION = info::dynamic::START_CONDITION;
    INFO_MODE = info::dynamic::MODE;
    INFO_PLAN_ID = info::dynamic::PLAN_ID;
    INFO_T0_TICKS = info::dynamic::T0_TICKS;
    INFO_PLAN_SINCE_TICKS = info::dynamic::PLAN_SINCE_TICKS;
    INFO_REQUESTS = info::dynamic::REQUESTS;
    INFO_VCPUS = info::dynamic::VCPUS;
    INFO_VCPU_STRIDE = info::dynamic::VCPU_STRIDE;
    VCPU_WINDOW_START_TICKS = info::dynamic::VCPU_WINDOW_START_TICKS;
    VCPU_WINDOW_END_TICKS = info::dynamic::VCPU_WINDOW_END_TICKS;
    VCPU_NEXT_WINDOW_TICKS = info::dynamic::VCPU_NEXT_WINDOW_TICKS;
    VCPU_EXEC_OFFSET_TICKS = info::dynamic::VCPU_EXEC_OFFSET_TICKS;
    INFO_IMAGE_ID = info::dynamic::IMAGE_ID;
    INFO_IMAGE_ID_BYTES = info::dynamic::IMAGE_ID_BYTES;
    INFO_PEER_EPOCHS = info::dynamic::PEER_EPOCHS;
    INFO_STOLEN_TIMES = info::dynamic::STOLEN_TIMES;
    INFO_STOLEN_TIME_STRIDE = info::dynamic::STOLEN_TIME_STRIDE;
    STOLEN_NS = info::dynamic::STOLEN_NS;
    NO_PLAN = info::dynamic::NO_PLAN;
    PORT_COUNT_MAX = info::dynamic::PORT_COUNT_MAX;
    VCPU_COUNT_MAX = info::dynamic::VCPU_COUNT_MAX;
    INFO_NAME = info::fixed::NAME;
    INFO_NAME_BYTES = info::fixed::NAME_BYTES;
    INFO_ID = info::fixed::ID;
    INFO_VCPU_COUNT = info::fixed::VCPU_COUNT;
    INFO_PORT_COUNT = info::fixed::PORT_COUNT;
    INFO_AUTHORITY_COUNT = info::fixed::AUTHORITY_COUNT;
    INFO_CNTFRQ_HZ = info::fixed::CNTFRQ_HZ;
    INFO_CLOCK = info::fixed::CLOCK;
    INFO_PART_NUMBER = info::fixed::PART_NUMBER;
    INFO_PART_NUMBER_BYTES = info::fixed::PART_NUMBER_BYTES;
    INFO_TRACE_IPA = info::fixed::TRACE_IPA;
    INFO_TRACE_BYTES = info::fixed::TRACE_BYTES;
    INFO_HEALTH_IPA = info::fixed::HEALTH_IPA;
    INFO_HEALTH_BYTES = info::fixed::HEALTH_BYTES;
    INFO_EVENT_INTID = info::fixed::EVENT_INTID;
    INFO_PARTITION_COUNT = info::fixed::PARTITION_COUNT;
    INFO_WATCHDOG_NS = info::fixed::WATCHDOG_NS;
    INFO_PORTS = info::fixed::PORTS;
    INFO_PORT_STRIDE = info::fixed::PORT_STRIDE;
    INFO_AUTHORITIES_ALIGN = info::fixed::AUTHORITIES_ALIGN;
    INFO_AUTHORITY_STRIDE = info::fixed::AUTHORITY_STRIDE;
    AUTHORITY_ID = info::fixed::AUTHORITY_ID;
    AUTHORITY_RIGHTS = info::fixed::AUTHORITY_RIGHTS;
    PARTITION_VCPU_FIRST = info::fixed::PARTITION_VCPU_FIRST;
    PARTITION_VCPU_COUNT = info::fixed::PARTITION_VCPU_COUNT;
    TRACE_HEADER_BYTES = trace::HEADER_BYTES;
    TRACE_RECORD_BYTES = trace::RECORD_BYTES;
    TRACE_WRITTEN = trace::WRITTEN;
    TRACE_MAGIC_AT = trace::MAGIC_AT;
    TRACE_CAUSES = trace::CAUSES;
    TRACE_CAUSE_COUNT = trace::cause::COUNT;
    TRACE_CAUSE_CALL = trace::cause::CALL;
    TRACE_CAUSE_ACCESS = trace::cause::ACCESS;
    TRACE_CAUSE_INJECTION = trace::cause::INJECTION;
    TRACE_CAUSE_KICK = trace::cause::KICK;
    TRACE_CAUSE_MAINTENANCE = trace::cause::MAINTENANCE;
    TRACE_CAUSE_TIMER = trace::cause::TIMER;
    TRACE_CAUSE_CONSOLE = trace::cause::CONSOLE;
    TRACE_CAUSE_STRAGGLER = trace::cause::STRAGGLER;
    TRACE_MAGIC = trace::MAGIC;
    TRACE_NONE = trace::kind::NONE;
    TRACE_PLAN = trace::kind::PLAN;
    TRACE_START = trace::kind::START;
    TRACE_END = trace::kind::END;
    TRACE_VISITS = trace::kind::VISITS;
    TRACE_DEFERRED = trace::kind::DEFERRED;
    TRACE_STRAGGLER = trace::kind::STRAGGLER;
    TRACE_HEALTH = trace::kind::HEALTH;
    TRACE_PLAN_ASKED = trace::kind::PLAN_ASKED;
    TRACE_CLEANED = trace::kind::CLEANED;
    PORT_NAME = info::fixed::PORT_NAME;
    PORT_KIND = info::fixed::PORT_KIND;
    PORT_DIRECTION = info::fixed::PORT_DIRECTION;
    PORT_MESSAGE_BYTES = info::fixed::PORT_MESSAGE_BYTES;
    PORT_SLOTS = info::fixed::PORT_SLOTS;
    PORT_WRITER_IPA = info::fixed::PORT_WRITER_IPA;
    PORT_CONSUMER_IPA = info::fixed::PORT_CONSUMER_IPA;
    PORT_REFRESH_NS = info::fixed::PORT_REFRESH_NS;
    PORT_DOORBELL_INTID = info::fixed::PORT_DOORBELL_INTID;
    PORT_PEER_ID = info::fixed::PORT_PEER_ID;
    NO_DOORBELL = info::fixed::NO_DOORBELL;
    CLOCK_SYSTEM = info::clock::SYSTEM;
    CLOCK_EXECUTION = info::clock::EXECUTION;
    MODE_COLD_START = info::mode::COLD_START;
    MODE_WARM_START = info::mode::WARM_START;
    MODE_NORMAL = info::mode::NORMAL;
    MODE_IDLE = info::mode::IDLE;
    START_POWER_ON = info::start_condition::POWER_ON;
    START_OWN_REQUEST = info::start_condition::OWN_REQUEST;
    START_AUTHORITY = info::start_condition::AUTHORITY;
    START_HEALTH_MONITOR = info::start_condition::HEALTH_MONITOR;
    STATE_LOADING = info::state::LOADING;
    STATE_RUNNING = info::state::RUNNING;
    STATE_SUSPENDED = info::state::SUSPENDED;
    STATE_HALTED = info::state::HALTED;
    STATE_OFF = info::state::OFF;
    STATE_FAILED = info::state::FAILED;
    STATE_RESTARTING = info::state::RESTARTING;
    EVENT_MEMORY_VIOLATION = info::event::MEMORY_VIOLATION;
    EVENT_DENIED_HYPERCALL = info::event::DENIED_HYPERCALL;
    EVENT_UNDEFINED_SYSREG = info::event::UNDEFINED_SYSREG;
    EVENT_EXTERNAL_ABORT = info::event::EXTERNAL_ABORT;
    EVENT_UNDECODABLE_ACCESS = info::event::UNDECODABLE_ACCESS;
    EVENT_ILLEGAL_DEVICE_ACCESS = info::event::ILLEGAL_DEVICE_ACCESS;
    EVENT_WATCHDOG = info::event::WATCHDOG;
    EVENT_INIT_TIMEOUT = info::event::INIT_TIMEOUT;
    EVENT_DEADLINE_MISS = info::event::DEADLINE_MISS;
    EVENT_PORT_VIOLATION = info::event::PORT_VIOLATION;
    EVENT_CONSOLE_OVERFLOW = info::event::CONSOLE_OVERFLOW;
    EVENT_INTERRUPT_STORM = info::event::INTERRUPT_STORM;
    EVENT_INTEGRITY = info::event::INTEGRITY;
    EVENT_EL2_ERROR = info::event::EL2_ERROR;
    EVENT_APPLICATION_ERROR = info::event::APPLICATION_ERROR;
    EVENT_WINDOW_OVERRUN = info::event::WINDOW_OVERRUN;
    EVENT_COUNT = info::event::COUNT;
    ACTION_IGNORE = health::action::IGNORE;
    ACTION_LOG = health::action::LOG;
    ACTION_NOTIFY = health::action::NOTIFY;
    ACTION_INJECT_ABORT = health::action::INJECT_ABORT;
    ACTION_INJECT_UNDEF = health::action::INJECT_UNDEF;
    ACTION_SUSPEND = health::action::SUSPEND;
    ACTION_HALT = health::action::HALT;
    ACTION_WARM_RESTART = health::action::WARM_RESTART;
    ACTION_COLD_RESTART = health::action::COLD_RESTART;
    ACTION_SWITCH_PLAN = health::action::SWITCH_PLAN;
    ACTION_RESET_BOARD = health::action::RESET_BOARD;
    ACTION_MASK_INTERRUPT = health::action::MASK_INTERRUPT;
    HEALTH_RECORD_BYTES = health::RECORD_BYTES;
    HEALTH_TAG = health::TAG;
    HEALTH_TICKS = health::TICKS;
    HEALTH_PARTITION = health::PARTITION;
    HEALTH_VCPU = health::VCPU;
    HEALTH_CPU = health::CPU;
    HEALTH_EVENT = health::EVENT;
    HEALTH_ACTION = health::ACTION;
    HEALTH_FLAGS = health::FLAGS;
    HEALTH_ESR = health::ESR;
    HEALTH_FAR = health::FAR;
    HEALTH_HPFAR = health::HPFAR;
    HEALTH_ELR = health::ELR;
    HEALTH_SPSR = health::SPSR;
    HEALTH_X0 = health::X0;
    HEALTH_CODE = health::CODE;
    HEALTH_NO_PARTITION = health::NO_PARTITION;
    HEALTH_FLAG_REGISTERS = health::flags::REGISTERS;
    REQUEST_SHUTDOWN = info::request::SHUTDOWN;
    KIND_SAMPLING = port::kind::SAMPLING;
    KIND_QUEUING = port::kind::QUEUING;
    DIRECTION_SOURCE = port::direction::SOURCE;
    DIRECTION_DESTINATION = port::direction::DESTINATION;
    SAMPLING_LATEST = port::sampling::LATEST;
    SAMPLING_EPOCH = port::sampling::EPOCH;
    SAMPLING_SLOTS = port::sampling::SLOTS;
    SAMPLING_SLOT_SEQUENCE = port::sampling::SLOT_SEQUENCE;
    SAMPLING_SLOT_TIMESTAMP_TICKS = port::sampling::SLOT_TIMESTAMP_TICKS;
    SAMPLING_SLOT_LENGTH = port::sampling::SLOT_LENGTH;
    SAMPLING_SLOT_DATA = port::sampling::SLOT_DATA;
    PRODUCER_HEAD = port::producer::HEAD;
    PRODUCER_EPOCH = port::producer::EPOCH;
    PRODUCER_REFUSED = port::producer::REFUSED;
    PRODUCER_SLOTS = port::producer::SLOTS;
    PRODUCER_SLOT_LENGTH = port::producer::SLOT_LENGTH;
    PRODUCER_SLOT_TIMESTAMP_TICKS = port::producer::SLOT_TIMESTAMP_TICKS;
    PRODUCER_SLOT_DATA = port::producer::SLOT_DATA;
    CONSUMER_TAIL = port::consumer::TAIL;
    CONSUMER_EPOCH = port::consumer::EPOCH;
    CONSUMER_PEER_EPOCH = port::consumer::PEER_EPOCH;
    CONSUMER_BYTES = port::consumer::BYTES;
    SAMPLING_SLOTS_DEFAULT = port::SAMPLING_SLOTS_DEFAULT;
};

#[cfg(test)]
mod tests {
    use super::*;

    /// Constants of `hv/abi` that are no guest's business: what composes others, and the loader's calls.
    const NOT_FOR_GUESTS: &[&str] = &[
        "hypercall::BASE",
        "hypercall::INDEX_MASK",
        "hypercall::LOADER_DONE",
        "hypercall::LOADER_FAILED",
        "info::fixed::START",
    ];

    /// The files of `hv/abi` that say what guests see, by module.
    const SOURCES: &[(&str, &str)] = &[
        ("health", include_str!("../../../hv/abi/src/health.rs")),
        ("hypercall", include_str!("../../../hv/abi/src/hypercall.rs")),
        ("info", include_str!("../../../hv/abi/src/info.rs")),
        ("port", include_str!("../../../hv/abi/src/port.rs")),
        ("status", include_str!("../../../hv/abi/src/status.rs")),
        ("trace", include_str!("../../../hv/abi/src/trace.rs")),
    ];

    /// Paths of the public constants of a module, as `info::dynamic::MODE`.
    fn declared(module: &str, text: &str) -> Vec<String> {
        let mut inner = None;
        let mut found = Vec::new();
        for line in text.lines() {
            if let Some(rest) = line.strip_prefix("pub mod ") {
                inner = rest.split_whitespace().next();
            } else if line == "}" {
                inner = None;
            } else if let Some(rest) = line.trim_start().strip_prefix("pub const ")
                && !rest.starts_with("fn ")
            {
                let name = rest.split(':').next().unwrap_or_default();
                let inner = inner.map(|inner| format!("{inner}::")).unwrap_or_default();
                found.push(format!("{module}::{inner}{name}"));
            }
        }
        found
    }

    #[test]
    fn every_constant_of_the_abi_is_in_the_header() {
        let list = include_str!("c_constants.rs");
        let list = list.split_once("#[cfg(test)]").unwrap().0;
        let is_listed =
            |path: &String| list.contains(&format!(" = {path};")) || list.contains(&format!(" = {path}["));
        let all: Vec<String> = SOURCES.iter().flat_map(|(module, text)| declared(module, text)).collect();
        assert!(all.len() > 150, "{}", all.len());
        let missing: Vec<&String> =
            all.iter().filter(|path| !is_listed(path) && !NOT_FOR_GUESTS.contains(&path.as_str())).collect();
        assert!(missing.is_empty(), "not in CONSTANTS: {missing:?}");
    }

    #[test]
    fn the_page_of_the_interface_names_every_call_status_and_word() {
        let page = include_str!("../../../docs/abi.md");
        let words: Vec<&str> = page.split(|c: char| !(c.is_alphanumeric() || c == '_')).collect();
        let mut missing = Vec::new();
        for constant in CONSTANTS {
            let named = ["HVC_", "STATUS_", "CONTROL_", "EVENT_", "STATE_"]
                .iter()
                .find_map(|prefix| constant.name.strip_prefix(prefix))
                .filter(|_| constant.name != "EVENT_COUNT")
                .map(|name| if name == "EL2_ERROR" { "HYPERVISOR_FAULT" } else { name });
            let written = |name: &str| words.contains(&name) || words.contains(&name.to_lowercase().as_str());
            let dashed = |name: &str| page.contains(&name.to_lowercase().replace('_', "-"));
            if named.is_some_and(|name| !written(name) && !dashed(name)) {
                missing.push(constant.name.to_string());
            }
        }
        let words_of_region = |path: &&String| {
            let is_size =
                ["BYTES", "STRIDE", "ALIGN", "COUNT_MAX", "NO_PLAN"].iter().any(|end| path.ends_with(end));
            (path.starts_with("info::dynamic::") || path.starts_with("info::fixed::")) && !is_size
        };
        for path in declared("info", SOURCES[2].1).iter().filter(words_of_region) {
            let name = path.rsplit("::").next().unwrap_or_default();
            let Some(constant) = CONSTANTS.iter().find(|c| c.name.strip_prefix("INFO_") == Some(name)) else {
                continue;
            };
            if !page.contains(&format!("| 0x{:02X} ", constant.value)) {
                missing.push(format!("{} at {:#x}", constant.name, constant.value));
            }
        }
        assert!(missing.is_empty(), "docs/abi.md does not name {missing:?}");
    }
}
