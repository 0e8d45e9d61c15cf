// SPDX-License-Identifier: GPL-2.0
/*
 * The health log and the trace, which the hypervisor writes and this partition
 * may read, and the interrupt that tells of its records and of what others ask for.
 */
#include <linux/interrupt.h>
#include <linux/io.h>
#include <linux/math64.h>
#include <linux/reboot.h>
#include <linux/uaccess.h>

#include "partition.h"

/* Longest log or trace that this module maps. */
#define LOG_BYTES_MAX (64ULL << 20)

static irqreturn_t told(int irq, void *data)
{
	const struct bulkhead *partition = data;

	if (bulkhead_info32(partition, BULKHEAD_INFO_REQUESTS) & BULKHEAD_REQUEST_SHUTDOWN) {
		dev_info(partition->dev, "asked to shut down\n");
		orderly_poweroff(true);
	}
	return IRQ_HANDLED;
}

/* Maps what the information region names by @ipa and @size; NULL: it may not be read. */
static const void *map(struct bulkhead *partition, size_t ipa, size_t size, u64 *bytes)
{
	u64 address = bulkhead_info64(partition, ipa);
	void *memory;

	*bytes = address ? bulkhead_info64(partition, size) : 0;
	if (!address)
		return NULL;
	if (*bytes > LOG_BYTES_MAX)
		memory = ERR_PTR(-EINVAL);
	else
		memory = devm_memremap(partition->dev, address, *bytes, MEMREMAP_WB);
	if (IS_ERR(memory))
		dev_err_probe(partition->dev, PTR_ERR(memory),
			      "cannot map %llu bytes at %#llx, at most %llu\n", *bytes, address,
			      LOG_BYTES_MAX);
	return memory;
}

/* Maps log and trace, if they may be read, and takes the interrupt, if there is one. */
int bulkhead_health_init(struct platform_device *pdev, struct bulkhead *partition)
{
	u64 bytes;
	int irq;

	partition->health = map(partition, BULKHEAD_INFO_HEALTH_IPA, BULKHEAD_INFO_HEALTH_BYTES,
				&bytes);
	if (IS_ERR(partition->health))
		return PTR_ERR(partition->health);
	partition->health_records = bytes / BULKHEAD_HEALTH_RECORD_BYTES;
	partition->trace = map(partition, BULKHEAD_INFO_TRACE_IPA, BULKHEAD_INFO_TRACE_BYTES,
			       &partition->trace_bytes);
	if (IS_ERR(partition->trace))
		return PTR_ERR(partition->trace);
	irq = platform_get_irq_byname_optional(pdev, ".events");
	if (irq == -ENXIO)
		return 0;
	if (irq < 0)
		return irq;
	return devm_request_irq(partition->dev, irq, told, 0, "bulkhead-events", partition);
}

static u64 word(const void *record, size_t offset)
{
	return READ_ONCE(*(const u64 *)((const u8 *)record + offset));
}

static u8 byte(const void *record, size_t offset)
{
	return READ_ONCE(*((const u8 *)record + offset));
}

/* Copies a record out; false: there is none, or it was overwritten meanwhile. */
static bool copy_record(const struct bulkhead *partition, const void *record,
			struct bulkhead_health *out)
{
	u32 hz = bulkhead_info32(partition, BULKHEAD_INFO_CNTFRQ_HZ);
	u64 tag = smp_load_acquire((const u64 *)((const u8 *)record + BULKHEAD_HEALTH_TAG));
	int i;

	if (!tag)
		return false;
	out->number = tag - 1;
	out->time_ns = mul_u64_u32_div(word(record, BULKHEAD_HEALTH_TICKS), NSEC_PER_SEC, hz);
	out->partition = byte(record, BULKHEAD_HEALTH_PARTITION);
	out->vcpu = byte(record, BULKHEAD_HEALTH_VCPU);
	out->cpu = byte(record, BULKHEAD_HEALTH_CPU);
	out->event = byte(record, BULKHEAD_HEALTH_EVENT);
	out->action = byte(record, BULKHEAD_HEALTH_ACTION);
	out->code = word(record, BULKHEAD_HEALTH_CODE);
	out->esr = word(record, BULKHEAD_HEALTH_ESR);
	out->far = word(record, BULKHEAD_HEALTH_FAR);
	out->hpfar = word(record, BULKHEAD_HEALTH_HPFAR);
	out->elr = word(record, BULKHEAD_HEALTH_ELR);
	out->spsr = word(record, BULKHEAD_HEALTH_SPSR);
	for (i = 0; i < 31; i++)
		out->x[i] = word(record, BULKHEAD_HEALTH_X0 + 8 * i);
	smp_rmb();
	return word(record, BULKHEAD_HEALTH_TAG) == tag;
}

/* The next record at or behind the cursor. */
int bulkhead_health_record(const struct bulkhead *partition, void __user *argument)
{
	struct bulkhead_health record = { };
	u32 slot;

	if (get_user(slot, (u32 __user *)argument))
		return -EFAULT;
	if (!partition->health)
		return -EACCES;
	for (; slot < partition->health_records; slot++) {
		const u8 *at = (const u8 *)partition->health +
			       (size_t)slot * BULKHEAD_HEALTH_RECORD_BYTES;

		if (copy_record(partition, at, &record)) {
			record.cursor = slot + 1;
			return copy_to_user(argument, &record, sizeof(record)) ? -EFAULT : 0;
		}
	}
	return -ENOENT;
}

/* Part of the trace; what it means, and what was overwritten meanwhile, is the reader's business. */
int bulkhead_trace_copy(const struct bulkhead *partition, void __user *argument)
{
	struct bulkhead_trace part;

	if (copy_from_user(&part, argument, sizeof(part)))
		return -EFAULT;
	if (!partition->trace)
		return -EACCES;
	part.total = partition->trace_bytes;
	part.offset = min(part.offset, part.total);
	part.bytes = min(part.bytes, part.total - part.offset);
	if (copy_to_user(u64_to_user_ptr(part.buffer), (const u8 *)partition->trace + part.offset,
			 part.bytes))
		return -EFAULT;
	return copy_to_user(argument, &part, sizeof(part)) ? -EFAULT : 0;
}
