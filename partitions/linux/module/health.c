// SPDX-License-Identifier: GPL-2.0
/*
 * The health log, which the hypervisor writes and this partition may read, and
 * the interrupt that tells of its records and of what others ask for.
 */
#include <linux/interrupt.h>
#include <linux/io.h>
#include <linux/math64.h>
#include <linux/reboot.h>
#include <linux/uaccess.h>

#include "partition.h"

/* Longest log that this module maps. */
#define HEALTH_BYTES_MAX (64ULL << 20)

static irqreturn_t told(int irq, void *data)
{
	const struct bulkhead *partition = data;

	if (bulkhead_info32(partition, BULKHEAD_INFO_REQUESTS) & BULKHEAD_REQUEST_SHUTDOWN) {
		dev_info(partition->dev, "asked to shut down\n");
		orderly_poweroff(true);
	}
	return IRQ_HANDLED;
}

/* Maps the log, if it may be read, and takes the interrupt, if there is one. */
int bulkhead_health_init(struct platform_device *pdev, struct bulkhead *partition)
{
	u64 address = bulkhead_info64(partition, BULKHEAD_INFO_HEALTH_IPA);
	u64 bytes = bulkhead_info64(partition, BULKHEAD_INFO_HEALTH_BYTES);
	void *log;
	int irq;

	if (address) {
		if (bytes > HEALTH_BYTES_MAX)
			return dev_err_probe(partition->dev, -EINVAL,
					     "health log of %llu bytes, at most %llu\n", bytes,
					     HEALTH_BYTES_MAX);
		log = devm_memremap(partition->dev, address, bytes, MEMREMAP_WB);
		if (IS_ERR(log))
			return dev_err_probe(partition->dev, PTR_ERR(log),
					     "cannot map the health log at %#llx\n", address);
		partition->health = log;
		partition->health_records = bytes / BULKHEAD_HEALTH_RECORD_BYTES;
	}
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
