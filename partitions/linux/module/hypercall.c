// SPDX-License-Identifier: GPL-2.0
/* Hypercalls of Bulkhead: SMCCC 1.1 calls by HVC #0 (hv/abi/src/hypercall.rs). */
#include <linux/arm-smccc.h>
#include <linux/device.h>
#include <linux/errno.h>

#include "partition.h"

static int errno_of(unsigned long status)
{
	switch (status) {
	case BULKHEAD_STATUS_SUCCESS:
		return 0;
	case BULKHEAD_STATUS_NOT_SUPPORTED:
		return -EOPNOTSUPP;
	case BULKHEAD_STATUS_INVALID_PARAMETER:
		return -EINVAL;
	case BULKHEAD_STATUS_DENIED:
		return -EACCES;
	case BULKHEAD_STATUS_NOT_AVAILABLE:
		return -EAGAIN;
	case BULKHEAD_STATUS_NO_ACTION:
		return -EALREADY;
	case BULKHEAD_STATUS_NO_PERSISTENT_REGION:
		return -ENODATA;
	case BULKHEAD_STATUS_NOT_RESTARTABLE:
		return -EBUSY;
	default:
		return -EIO;
	}
}

/*
 * Makes sure that the other side of HVC is Bulkhead, in a version we know. HVC
 * is undefined where nothing runs at EL2, so the firmware's conduit comes first.
 */
int bulkhead_hypercall_discover(struct device *dev)
{
	struct arm_smccc_res res;

	if (arm_smccc_1_1_get_conduit() != SMCCC_CONDUIT_HVC)
		return dev_err_probe(dev, -ENODEV,
				     "the device tree promises Bulkhead, but PSCI does not speak SMCCC 1.1 by HVC\n");
	arm_smccc_1_1_hvc(BULKHEAD_HVC_UID_QUERY, &res);
	if ((u32)res.a0 != BULKHEAD_UID_0 || (u32)res.a1 != BULKHEAD_UID_1 ||
	    (u32)res.a2 != BULKHEAD_UID_2 || (u32)res.a3 != BULKHEAD_UID_3)
		return dev_err_probe(dev, -ENODEV,
				     "the hypervisor is not Bulkhead: vendor UID %08x %08x %08x %08x\n",
				     (u32)res.a0, (u32)res.a1, (u32)res.a2, (u32)res.a3);
	arm_smccc_1_1_hvc(BULKHEAD_HVC_REVISION, &res);
	if ((u32)res.a0 != BULKHEAD_ABI_VERSION >> 16)
		return dev_err_probe(dev, -EPROTONOSUPPORT,
				     "the hypervisor has ABI %u.%u, this module %u.x: rebuild it against the hypervisor's headers\n",
				     (u32)res.a0, (u32)res.a1, BULKHEAD_ABI_VERSION >> 16);
	return 0;
}

/* Rings the doorbell of a port; -EAGAIN: its minimum interval has not passed. */
int bulkhead_hypercall_doorbell(u32 port)
{
	struct arm_smccc_res res;

	arm_smccc_1_1_hvc(BULKHEAD_HVC_DOORBELL, port, &res);
	return errno_of(res.a0);
}

/* Tells the health monitor that the peer of a port breaks the protocol. */
int bulkhead_hypercall_report(u32 port)
{
	struct arm_smccc_res res;

	arm_smccc_1_1_hvc(BULKHEAD_HVC_RAISE_EVENT, port, BULKHEAD_EVENT_PORT_VIOLATION, &res);
	return errno_of(res.a0);
}

/* Controls the partition at @target of the authority table. */
int bulkhead_hypercall_control(struct bulkhead_control *control)
{
	struct arm_smccc_res res;

	arm_smccc_1_1_hvc(BULKHEAD_HVC_PARTITION_CONTROL, control->index, control->operation, &res);
	if (control->operation == BULKHEAD_CONTROL_STATUS) {
		control->state = res.a1;
		control->starts = res.a2;
		control->mode = lower_32_bits(res.a3);
		control->condition = upper_32_bits(res.a3);
	}
	return errno_of(res.a0);
}

/* The current plan and the next, in the words of the hypervisor. */
int bulkhead_hypercall_plan(u64 *plans, u64 *since_ticks, u64 *from_ticks)
{
	struct arm_smccc_res res;

	arm_smccc_1_1_hvc(BULKHEAD_HVC_PLAN_STATUS, &res);
	*plans = res.a1;
	*since_ticks = res.a2;
	*from_ticks = res.a3;
	return errno_of(res.a0);
}

int bulkhead_hypercall_set_plan(u32 id)
{
	struct arm_smccc_res res;

	arm_smccc_1_1_hvc(BULKHEAD_HVC_PLAN_SET, id, &res);
	return errno_of(res.a0);
}

int bulkhead_hypercall_reset_board(void)
{
	struct arm_smccc_res res;

	arm_smccc_1_1_hvc(BULKHEAD_HVC_SYSTEM_RESET, &res);
	return errno_of(res.a0);
}

/* Sets the partition's ARINC 653 operating mode. */
int bulkhead_hypercall_set_mode(u32 mode)
{
	struct arm_smccc_res res;

	arm_smccc_1_1_hvc(BULKHEAD_HVC_SET_MODE, mode, &res);
	return errno_of(res.a0);
}
