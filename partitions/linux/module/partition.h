/* SPDX-License-Identifier: GPL-2.0 */
/* What the files of bulkhead.ko share. */
#ifndef BULKHEAD_PARTITION_H
#define BULKHEAD_PARTITION_H

#include <linux/cdev.h>
#include <linux/device.h>
#include <linux/mutex.h>
#include <linux/platform_device.h>
#include <linux/ratelimit.h>
#include <linux/wait.h>
#include <linux/workqueue.h>

#include "bulkhead.h"
#include "bulkhead_abi.h"
#include "port.h"

/* Minor of the control device; port n of the table has minor n + 1. */
#define BULKHEAD_CONTROL_MINOR 0

struct bulkhead;

/* A port and its character device. */
struct bulkhead_port {
	struct bulkhead *partition;
	struct bh_port protocol;	/* changed under lock */
	struct mutex lock;		/* also guards bounce */
	void *bounce;			/* message_bytes, between the region and user memory */
	wait_queue_head_t wait;		/* readers, writers and pollers */
	struct delayed_work tick;	/* looks at the port while somebody waits */
	struct delayed_work ring;	/* rings again what the hypervisor put off */
	struct ratelimit_state report;	/* of violations to the health monitor */
	u64 reported;			/* violations told so far */
	atomic64_t doorbells;
	unsigned long tick_jiffies;
	u32 index;
	u32 peer_id;
	bool doorbell;
	char name[BULKHEAD_NAME_LEN];
};

/* The partition, as the information region describes it. */
struct bulkhead {
	struct device *dev;
	const void *info;
	size_t info_bytes;
	u32 port_count;
	u32 authority_count;
	u32 authorities;		/* offset of the authority table in info */
	const void *health;		/* the log, NULL without the right to read it */
	u32 health_records;
	const void *trace;		/* the rings, NULL without the right to read them */
	u64 trace_bytes;
	u32 partition_count;		/* of the partition table, behind that of authority */
	struct bulkhead_port *ports;
	struct cdev control_cdev;
	struct cdev ports_cdev;
	dev_t devt;			/* of the control device, the ports' follow */
};

/* A naturally aligned word of the information region; @offset was checked at probe. */
static inline u32 bulkhead_info32(const struct bulkhead *partition, size_t offset)
{
	return READ_ONCE(*(const u32 *)((const u8 *)partition->info + offset));
}

static inline u64 bulkhead_info64(const struct bulkhead *partition, size_t offset)
{
	return READ_ONCE(*(const u64 *)((const u8 *)partition->info + offset));
}

/* chardev.c */
extern const struct file_operations bulkhead_port_fops;
int bulkhead_port_init(struct bulkhead_port *port);
void bulkhead_port_wake(struct bulkhead_port *port);
void bulkhead_port_fill_status(struct bulkhead_port *port, struct bulkhead_port_status *status);

/* control.c */
extern const struct file_operations bulkhead_control_fops;

/* health.c */
int bulkhead_health_init(struct platform_device *pdev, struct bulkhead *partition);
int bulkhead_health_record(const struct bulkhead *partition, void __user *argument);
int bulkhead_trace_copy(const struct bulkhead *partition, void __user *argument);

/* hypercall.c */
int bulkhead_hypercall_discover(struct device *dev);
int bulkhead_hypercall_doorbell(u32 port);
int bulkhead_hypercall_report(u32 port);
int bulkhead_hypercall_control(struct bulkhead_control *control);
int bulkhead_hypercall_plan(u64 *plans, u64 *since_ticks, u64 *from_ticks);
int bulkhead_hypercall_set_plan(u32 id);
int bulkhead_hypercall_reset_board(void);
int bulkhead_hypercall_set_mode(u32 mode);

#endif
