//! The constants that C guests see. `cargo xtask header` writes the C header from this list.

use bulkhead_abi::{health, hypercall, info, port, status};

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
    HVC_PLAN_SET = hypercall::PLAN_SET;
    HVC_PLAN_STATUS = hypercall::PLAN_STATUS;
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
    INFO_REQUESTS = info::dynamic::REQUESTS;
    INFO_IMAGE_ID = info::dynamic::IMAGE_ID;
    INFO_IMAGE_ID_BYTES = info::dynamic::IMAGE_ID_BYTES;
    INFO_PEER_EPOCHS = info::dynamic::PEER_EPOCHS;
    NO_PLAN = info::dynamic::NO_PLAN;
    PORT_COUNT_MAX = info::dynamic::PORT_COUNT_MAX;
    INFO_NAME = info::fixed::NAME;
    INFO_NAME_BYTES = info::fixed::NAME_BYTES;
    INFO_ID = info::fixed::ID;
    INFO_VCPU_COUNT = info::fixed::VCPU_COUNT;
    INFO_PORT_COUNT = info::fixed::PORT_COUNT;
    INFO_AUTHORITY_COUNT = info::fixed::AUTHORITY_COUNT;
    INFO_CNTFRQ_HZ = info::fixed::CNTFRQ_HZ;
    INFO_PART_NUMBER = info::fixed::PART_NUMBER;
    INFO_PART_NUMBER_BYTES = info::fixed::PART_NUMBER_BYTES;
    INFO_HEALTH_IPA = info::fixed::HEALTH_IPA;
    INFO_HEALTH_BYTES = info::fixed::HEALTH_BYTES;
    INFO_PARTITION_COUNT = info::fixed::PARTITION_COUNT;
    INFO_PORTS = info::fixed::PORTS;
    INFO_PORT_STRIDE = info::fixed::PORT_STRIDE;
    INFO_AUTHORITIES_ALIGN = info::fixed::AUTHORITIES_ALIGN;
    INFO_AUTHORITY_STRIDE = info::fixed::AUTHORITY_STRIDE;
    AUTHORITY_ID = info::fixed::AUTHORITY_ID;
    AUTHORITY_RIGHTS = info::fixed::AUTHORITY_RIGHTS;
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
};
