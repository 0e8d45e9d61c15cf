// SPDX-License-Identifier: GPL-2.0
/* /dev/bulkhead/control: the partition's identity, its ports, its authority over others. */
#include <clocksource/arm_arch_timer.h>
#include <linux/capability.h>
#include <linux/fs.h>
#include <linux/math64.h>
#include <linux/module.h>
#include <linux/nospec.h>
#include <linux/uaccess.h>

#include "partition.h"

static int identity(const struct bulkhead *partition, void __user *argument)
{
	const u8 *info = partition->info;
	struct bulkhead_identity identity = {
		.abi_version = bulkhead_info32(partition, BULKHEAD_INFO_ABI_VERSION),
		.id = bulkhead_info32(partition, BULKHEAD_INFO_ID),
		.vcpu_count = bulkhead_info32(partition, BULKHEAD_INFO_VCPU_COUNT),
		.port_count = partition->port_count,
		.authority_count = partition->authority_count,
		.start_count = bulkhead_info32(partition, BULKHEAD_INFO_START_COUNT),
		.start_condition = bulkhead_info32(partition, BULKHEAD_INFO_START_CONDITION),
		.mode = bulkhead_info32(partition, BULKHEAD_INFO_MODE),
		.plan_id = bulkhead_info32(partition, BULKHEAD_INFO_PLAN_ID),
	};

	memcpy(identity.name, info + BULKHEAD_INFO_NAME, sizeof(identity.name) - 1);
	memcpy(identity.part_number, info + BULKHEAD_INFO_PART_NUMBER,
	       sizeof(identity.part_number) - 1);
	memcpy(identity.image_id, info + BULKHEAD_INFO_IMAGE_ID, sizeof(identity.image_id));
	return copy_to_user(argument, &identity, sizeof(identity)) ? -EFAULT : 0;
}

static int port_status(struct bulkhead *partition, void __user *argument)
{
	struct bulkhead_port_status status;
	u32 index;

	if (get_user(index, (u32 __user *)argument))
		return -EFAULT;
	if (index >= partition->port_count)
		return -ENOENT;
	index = array_index_nospec(index, partition->port_count);
	bulkhead_port_fill_status(&partition->ports[index], &status);
	return copy_to_user(argument, &status, sizeof(status)) ? -EFAULT : 0;
}

/* Where entry @index of the authority table lies, or 0: no such entry. */
static size_t authority_entry(const struct bulkhead *partition, u32 index)
{
	if (index >= partition->authority_count)
		return 0;
	index = array_index_nospec(index, partition->authority_count);
	return partition->authorities + index * BULKHEAD_INFO_AUTHORITY_STRIDE;
}

static int authority(const struct bulkhead *partition, void __user *argument)
{
	struct bulkhead_authority authority = { };
	size_t entry;

	if (get_user(authority.index, (u32 __user *)argument))
		return -EFAULT;
	entry = authority_entry(partition, authority.index);
	if (!entry)
		return -ENOENT;
	authority.id = bulkhead_info32(partition, entry + BULKHEAD_AUTHORITY_ID);
	authority.rights = bulkhead_info32(partition, entry + BULKHEAD_AUTHORITY_RIGHTS);
	memcpy(authority.name, (const u8 *)partition->info + entry, sizeof(authority.name) - 1);
	return copy_to_user(argument, &authority, sizeof(authority)) ? -EFAULT : 0;
}

static int control(const struct bulkhead *partition, void __user *argument)
{
	struct bulkhead_control control;
	int ret;

	if (copy_from_user(&control, argument, sizeof(control)))
		return -EFAULT;
	if (control.reserved || control.reserved2)
		return -EINVAL;
	if (!authority_entry(partition, control.index))
		return -ENOENT;
	if (control.operation != BULKHEAD_CONTROL_STATUS && !capable(CAP_SYS_BOOT))
		return -EPERM;
	ret = bulkhead_hypercall_control(&control);
	if (ret)
		return ret;
	return copy_to_user(argument, &control, sizeof(control)) ? -EFAULT : 0;
}

/* Entry of the partition table, which follows the authority table. */
static int partition_entry(const struct bulkhead *partition, void __user *argument)
{
	struct bulkhead_partition entry = { };
	size_t at;

	if (get_user(entry.index, (u32 __user *)argument))
		return -EFAULT;
	if (!partition->partition_count)
		return -EACCES;
	if (entry.index >= partition->partition_count)
		return -ENOENT;
	at = array_index_nospec(entry.index, partition->partition_count);
	at = partition->authorities +
	     (partition->authority_count + at) * BULKHEAD_INFO_AUTHORITY_STRIDE;
	entry.id = bulkhead_info32(partition, at + BULKHEAD_AUTHORITY_ID);
	entry.vcpu_first = bulkhead_info32(partition, at + BULKHEAD_PARTITION_VCPU_FIRST);
	entry.vcpu_count = bulkhead_info32(partition, at + BULKHEAD_PARTITION_VCPU_COUNT);
	memcpy(entry.name, (const u8 *)partition->info + at, sizeof(entry.name) - 1);
	return copy_to_user(argument, &entry, sizeof(entry)) ? -EFAULT : 0;
}

static int plan(const struct bulkhead *partition, void __user *argument)
{
	u32 hz = bulkhead_info32(partition, BULKHEAD_INFO_CNTFRQ_HZ);
	u64 plans, since, from, now = arch_timer_read_counter();
	struct bulkhead_plan plan = { };
	int ret = bulkhead_hypercall_plan(&plans, &since, &from);

	if (ret)
		return ret;
	plan.plan_id = lower_32_bits(plans);
	plan.next_id = upper_32_bits(plans);
	plan.since_ns = mul_u64_u32_div(now > since ? now - since : 0, NSEC_PER_SEC, hz);
	if (from != U64_MAX && from > now)
		plan.next_ns = mul_u64_u32_div(from - now, NSEC_PER_SEC, hz);
	return copy_to_user(argument, &plan, sizeof(plan)) ? -EFAULT : 0;
}

static int set_mode(unsigned long mode)
{
	if (mode != BULKHEAD_MODE_NORMAL && mode != BULKHEAD_MODE_IDLE)
		return -EINVAL;
	if (!capable(CAP_SYS_BOOT))
		return -EPERM;
	return bulkhead_hypercall_set_mode(mode);
}

static long control_ioctl(struct file *filp, unsigned int request, unsigned long argument)
{
	struct bulkhead *partition = filp->private_data;
	void __user *user = (void __user *)argument;

	switch (request) {
	case BULKHEAD_IOC_IDENTITY:
		return identity(partition, user);
	case BULKHEAD_IOC_PORT_STATUS:
		return port_status(partition, user);
	case BULKHEAD_IOC_AUTHORITY:
		return authority(partition, user);
	case BULKHEAD_IOC_CONTROL:
		return control(partition, user);
	case BULKHEAD_IOC_SET_MODE:
		return set_mode(argument);
	case BULKHEAD_IOC_PARTITION:
		return partition_entry(partition, user);
	case BULKHEAD_IOC_HEALTH:
		return bulkhead_health_record(partition, user);
	case BULKHEAD_IOC_TRACE:
		return bulkhead_trace_copy(partition, user);
	case BULKHEAD_IOC_PLAN:
		return plan(partition, user);
	case BULKHEAD_IOC_SET_PLAN:
		return capable(CAP_SYS_BOOT) ? bulkhead_hypercall_set_plan(argument) : -EPERM;
	case BULKHEAD_IOC_RESET_BOARD:
		return capable(CAP_SYS_BOOT) ? bulkhead_hypercall_reset_board() : -EPERM;
	default:
		return -ENOTTY;
	}
}

static int control_open(struct inode *inode, struct file *filp)
{
	filp->private_data = container_of(inode->i_cdev, struct bulkhead, control_cdev);
	return nonseekable_open(inode, filp);
}

const struct file_operations bulkhead_control_fops = {
	.owner = THIS_MODULE,
	.open = control_open,
	.unlocked_ioctl = control_ioctl,
	.compat_ioctl = compat_ptr_ioctl,
};
