//! Who may do what to whom: one answer for every PARTITION_CONTROL and PLAN_SET, from the sealed tables.

use bulkhead_abi::hypercall::{TARGET_SELF, control};
use bulkhead_abi::status;
use bulkhead_blueprint::layout::{Authority, Partition, Plan};
use bulkhead_blueprint::limits::PLANS_MAX;
use bulkhead_blueprint::span;

/// The partition that PARTITION_CONTROL (x1 = `which`, x2 = `operation`) of partition `caller` is about.
///
/// # Errors
/// The status for the caller: INVALID_PARAMETER for what does not exist, DENIED for what was not granted.
pub fn target(
    partition: &Partition,
    authorities: &[Authority],
    caller: u32,
    which: u64,
    operation: u64,
) -> Result<u32, i64> {
    let (target, rights) = if which == TARGET_SELF {
        (caller, u32::MAX)
    } else {
        let own = span(authorities, partition.authority_first, partition.authority_count);
        let granted = usize::try_from(which).ok().and_then(|which| own.get(which));
        granted.map(|authority| (authority.partition, authority.rights)).ok_or(status::INVALID_PARAMETER)?
    };
    let right = match operation {
        control::WARM_RESTART => control::RESTART,
        control::SHUTDOWN => control::HALT,
        control::STATUS..control::WARM_RESTART => operation,
        _ => return Err(status::INVALID_PARAMETER),
    };
    if rights >> right & 1 == 0 { Err(status::DENIED) } else { Ok(target) }
}

/// Index of the plan with identifier `wanted`, if the partition may ask for it.
///
/// # Errors
/// The status for the caller: INVALID_PARAMETER for a plan that does not exist, DENIED for one not granted.
pub fn plan(partition: &Partition, plans: &[Plan], wanted: u64) -> Result<u16, i64> {
    let found = plans.iter().take(PLANS_MAX).position(|plan| u64::from(plan.id) == wanted);
    let plan = found.ok_or(status::INVALID_PARAMETER)?;
    if partition.plans >> plan & 1 == 0 { Err(status::DENIED) } else { Ok(plan as u16) }
}
