// SPDX-License-Identifier: GPL-2.0
/* The character device of a port: read, write, poll and status (include/bulkhead.h). */
#include <linux/fs.h>
#include <linux/module.h>
#include <linux/poll.h>
#include <linux/slab.h>
#include <linux/uaccess.h>
#include <asm/arch_timer.h>

#include "partition.h"

/* How often a waiter looks at a port that no interrupt announces. */
#define TICK_MS 10
/* The same with a doorbell: only in case that a ring was put off and never repeated. */
#define DOORBELL_TICK_MS 200
/* When a ring that came too early is repeated. */
#define RING_AGAIN_MS 2

static unsigned int write_timeout_ms = 1000;
module_param(write_timeout_ms, uint, 0644);
MODULE_PARM_DESC(write_timeout_ms, "how long a blocking write waits for room in a queuing port");

/* An open file of a port. */
struct port_file {
	struct bulkhead_port *port;
	u64 sequence;	/* newest message read (sampling) */
	u32 epoch;	/* and its writer's epoch */
};

static u64 now_ticks(void)
{
	/* System time: what CNTVCT counts is the configuration's matter. */
	return __arch_counter_get_cntpct();
}

static bool is_source(const struct bulkhead_port *port)
{
	return port->protocol.direction == BULKHEAD_DIRECTION_SOURCE;
}

static bool is_sampling(const struct bulkhead_port *port)
{
	return port->protocol.kind == BULKHEAD_KIND_SAMPLING;
}

/* To be called by whoever waits, once it is in the wait queue: tick() ends without waiters. */
static void arm_tick(struct bulkhead_port *port)
{
	queue_delayed_work(system_wq, &port->tick, port->tick_jiffies);
}

/* Looks at the port for whoever waits; ends when nobody does. */
static void tick(struct work_struct *work)
{
	struct bulkhead_port *port = container_of(work, struct bulkhead_port, tick.work);

	if (!wq_has_sleeper(&port->wait))
		return;
	wake_up_interruptible(&port->wait);
	arm_tick(port);
}

/* The doorbell rang. Interrupt context. */
void bulkhead_port_wake(struct bulkhead_port *port)
{
	atomic64_inc(&port->doorbells);
	wake_up_interruptible(&port->wait);
}

static void ring(struct work_struct *work)
{
	struct bulkhead_port *port = container_of(work, struct bulkhead_port, ring.work);
	int ret = bulkhead_hypercall_doorbell(port->index);

	if (ret == -EAGAIN)
		queue_delayed_work(system_wq, &port->ring, msecs_to_jiffies(RING_AGAIN_MS));
	else if (ret && ret != -EALREADY) /* that: the receiver does not run */
		dev_warn_ratelimited(port->partition->dev, "port %s: doorbell refused: %d\n",
				     port->name, ret);
	else if (!ret)
		atomic64_inc(&port->doorbells);
}

/* Announces a message at the receiver, now or when the minimum interval has passed. */
static void announce(struct bulkhead_port *port)
{
	if (port->doorbell)
		ring(&port->ring.work);
}

/* Tells the health monitor of new violations, at most once a second. Under the port's lock. */
static void report_violations(struct bulkhead_port *port)
{
	u64 violations = port->protocol.violations;

	if (violations == port->reported || !__ratelimit(&port->report))
		return;
	dev_warn(port->partition->dev, "port %s: its peer broke the protocol %llu times\n",
		 port->name, violations - port->reported);
	port->reported = violations;
	bulkhead_hypercall_report(port->index);
}

static bool readable(const struct port_file *file)
{
	const struct bh_port *protocol = &file->port->protocol;
	u64 latest;
	u32 epoch;

	if (!is_sampling(file->port))
		return bh_queue_has_message(protocol);
	latest = bh_sampling_latest(protocol, &epoch);
	return latest && (latest != file->sequence || epoch != file->epoch);
}

static bool writable(const struct port_file *file)
{
	return is_sampling(file->port) || bh_queue_has_room(&file->port->protocol);
}

/* Conditions of a wait: they find the waiter in the queue, so the tick may be armed. */
static bool readable_or_armed(const struct port_file *file)
{
	arm_tick(file->port);
	return readable(file);
}

static bool writable_or_armed(const struct port_file *file)
{
	arm_tick(file->port);
	return writable(file);
}

static int errno_of(enum bh_result result)
{
	switch (result) {
	case BH_OK:
		return 0;
	case BH_EMPTY:
		return -ENODATA;
	case BH_LENGTH:
		return -EMSGSIZE;
	case BH_VIOLATION:
		return -EBADMSG;
	default:
		return -EAGAIN;
	}
}

static ssize_t read_sampling(struct port_file *file, char __user *buffer, size_t count, loff_t *pos)
{
	struct bulkhead_port *port = file->port;
	struct bh_stamp stamp;
	ssize_t ret;

	if (*pos)
		return 0;
	if (mutex_lock_interruptible(&port->lock))
		return -ERESTARTSYS;
	ret = errno_of(bh_sampling_read(&port->protocol, port->bounce, &stamp));
	report_violations(port);
	if (!ret && stamp.length > count)
		ret = -EMSGSIZE;
	if (!ret && copy_to_user(buffer, port->bounce, stamp.length))
		ret = -EFAULT;
	if (!ret) {
		file->sequence = stamp.sequence;
		file->epoch = stamp.epoch;
		*pos = stamp.length;
		ret = stamp.length;
	}
	mutex_unlock(&port->lock);
	return ret;
}

/* Takes one message if there is one; -ENODATA: none. */
static ssize_t take_message(struct bulkhead_port *port, char __user *buffer, size_t count)
{
	u32 capacity = min_t(size_t, count, port->protocol.message_bytes);
	struct bh_stamp stamp;
	enum bh_result result;
	ssize_t ret;

	if (mutex_lock_interruptible(&port->lock))
		return -ERESTARTSYS;
	result = bh_queue_peek(&port->protocol, port->bounce, capacity, &stamp);
	report_violations(port);
	/* What violates the protocol is dropped and counted; the reader waits for a message. */
	ret = result == BH_VIOLATION ? -ENODATA : errno_of(result);
	if (!ret && copy_to_user(buffer, port->bounce, stamp.length))
		ret = -EFAULT;
	if (!ret) {
		bh_queue_consume(&port->protocol);
		ret = stamp.length;
	}
	mutex_unlock(&port->lock);
	return ret;
}

static ssize_t read_queue(struct port_file *file, char __user *buffer, size_t count, bool nonblock)
{
	struct bulkhead_port *port = file->port;

	for (;;) {
		ssize_t ret = take_message(port, buffer, count);

		if (ret != -ENODATA)
			return ret;
		if (nonblock)
			return -EAGAIN;
		if (wait_event_interruptible(port->wait, readable_or_armed(file)))
			return -ERESTARTSYS;
		cond_resched();
	}
}

static ssize_t port_read(struct file *filp, char __user *buffer, size_t count, loff_t *pos)
{
	struct port_file *file = filp->private_data;

	if (!count)
		return 0;
	if (is_sampling(file->port))
		return read_sampling(file, buffer, count, pos);
	return read_queue(file, buffer, count, filp->f_flags & O_NONBLOCK);
}

/* Sends the message in user memory if there is room; -EAGAIN: there is none. */
static ssize_t put_message(struct bulkhead_port *port, const char __user *buffer, size_t count,
			   bool last_attempt)
{
	enum bh_result result = BH_FULL;
	ssize_t ret = -EFAULT;

	if (mutex_lock_interruptible(&port->lock))
		return -ERESTARTSYS;
	if (!copy_from_user(port->bounce, buffer, count)) {
		if (is_sampling(port))
			result = bh_sampling_write(&port->protocol, port->bounce, count,
						   now_ticks());
		else
			result = bh_queue_send(&port->protocol, port->bounce, count, now_ticks());
		if (result == BH_FULL && last_attempt)
			bh_queue_refuse(&port->protocol);
		report_violations(port);
		ret = errno_of(result);
	}
	mutex_unlock(&port->lock);
	if (ret)
		return ret;
	announce(port);
	return count;
}

static ssize_t port_write(struct file *filp, const char __user *buffer, size_t count, loff_t *pos)
{
	struct port_file *file = filp->private_data;
	struct bulkhead_port *port = file->port;
	bool nonblock = filp->f_flags & O_NONBLOCK;
	long left = msecs_to_jiffies(READ_ONCE(write_timeout_ms));

	if (!count)
		return 0;
	if (count > port->protocol.message_bytes)
		return -EMSGSIZE;
	for (;;) {
		bool last_attempt = nonblock || left <= 0;
		ssize_t ret = put_message(port, buffer, count, last_attempt);

		if (ret != -EAGAIN)
			return ret;
		if (last_attempt)
			return nonblock ? -EAGAIN : -ETIMEDOUT;
		left = wait_event_interruptible_timeout(port->wait, writable_or_armed(file), left);
		if (left < 0)
			return left;
		cond_resched();
	}
}

static __poll_t port_poll(struct file *filp, poll_table *table)
{
	struct port_file *file = filp->private_data;
	struct bulkhead_port *port = file->port;

	poll_wait(filp, &port->wait, table);
	if (is_source(port))
		return writable_or_armed(file) ? EPOLLOUT | EPOLLWRNORM : 0;
	return readable_or_armed(file) ? EPOLLIN | EPOLLRDNORM : 0;
}

static void fill_sampling(struct bulkhead_port *port, struct bulkhead_port_status *status)
{
	struct bh_port *protocol = &port->protocol;
	struct bh_stamp stamp;

	status->refresh_ns = protocol->refresh_ns;
	if (is_source(port)) {
		status->messages = protocol->position;
		return;
	}
	if (bh_sampling_read(protocol, NULL, &stamp) != BH_OK)
		return;
	status->messages = stamp.sequence;
	status->age_ns = bh_age_ns(protocol, stamp.ticks, now_ticks());
	status->valid = bh_fresh(protocol, status->age_ns);
}

void bulkhead_port_fill_status(struct bulkhead_port *port, struct bulkhead_port_status *status)
{
	struct bh_port *protocol = &port->protocol;

	mutex_lock(&port->lock);
	*status = (struct bulkhead_port_status) {
		.index = port->index,
		.kind = protocol->kind,
		.direction = protocol->direction,
		.message_bytes = protocol->message_bytes,
		.depth = protocol->slots,
		.peer_id = port->peer_id,
		.epoch = protocol->own_epoch,
		.peer_epoch = bh_peer_epoch(protocol),
		.doorbell = port->doorbell,
		.doorbells = atomic64_read(&port->doorbells),
		.age_ns = BULKHEAD_AGE_NONE,
	};
	memcpy(status->name, port->name, sizeof(status->name));
	if (is_sampling(port)) {
		fill_sampling(port, status);
	} else {
		status->messages = protocol->position;
		status->used = bh_queue_used(protocol);
		status->refused = bh_queue_refused(protocol);
	}
	status->overruns = protocol->overruns;
	status->violations = protocol->violations;
	mutex_unlock(&port->lock);
}

static long port_ioctl(struct file *filp, unsigned int request, unsigned long argument)
{
	struct port_file *file = filp->private_data;
	struct bulkhead_port_status status;

	if (request != BULKHEAD_IOC_PORT_STATUS)
		return -ENOTTY;
	bulkhead_port_fill_status(file->port, &status);
	return copy_to_user((void __user *)argument, &status, sizeof(status)) ? -EFAULT : 0;
}

static int port_open(struct inode *inode, struct file *filp)
{
	struct bulkhead *partition = container_of(inode->i_cdev, struct bulkhead, ports_cdev);
	struct bulkhead_port *port = &partition->ports[iminor(inode) - BULKHEAD_CONTROL_MINOR - 1];
	struct port_file *file;

	if (filp->f_mode & (is_source(port) ? FMODE_READ : FMODE_WRITE))
		return -EACCES;
	file = kzalloc(sizeof(*file), GFP_KERNEL);
	if (!file)
		return -ENOMEM;
	file->port = port;
	filp->private_data = file;
	return is_sampling(port) ? 0 : stream_open(inode, filp);
}

static int port_release(struct inode *inode, struct file *filp)
{
	kfree(filp->private_data);
	return 0;
}

const struct file_operations bulkhead_port_fops = {
	.owner = THIS_MODULE,
	.open = port_open,
	.release = port_release,
	.llseek = no_seek_end_llseek,
	.read = port_read,
	.write = port_write,
	.poll = port_poll,
	.unlocked_ioctl = port_ioctl,
	.compat_ioctl = compat_ptr_ioctl,
};

static void stop_work(void *data)
{
	struct bulkhead_port *port = data;

	cancel_delayed_work_sync(&port->tick);
	cancel_delayed_work_sync(&port->ring);
}

/* Prepares a port whose description is complete for use by files and interrupts. */
int bulkhead_port_init(struct bulkhead_port *port)
{
	struct device *dev = port->partition->dev;

	mutex_init(&port->lock);
	init_waitqueue_head(&port->wait);
	INIT_DELAYED_WORK(&port->tick, tick);
	INIT_DELAYED_WORK(&port->ring, ring);
	ratelimit_state_init(&port->report, HZ, 1);
	ratelimit_set_flags(&port->report, RATELIMIT_MSG_ON_RELEASE);
	atomic64_set(&port->doorbells, 0);
	port->tick_jiffies = msecs_to_jiffies(port->doorbell && !is_source(port) ?
					      DOORBELL_TICK_MS : TICK_MS);
	port->bounce = devm_kzalloc(dev, port->protocol.message_bytes, GFP_KERNEL);
	if (!port->bounce)
		return -ENOMEM;
	return devm_add_action_or_reset(dev, stop_work, port);
}
