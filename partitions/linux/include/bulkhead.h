/* SPDX-License-Identifier: Apache-2.0 OR MIT */
/*
 * What bulkhead.ko offers to programs.
 *
 * /dev/bulkhead/PORT, one for each port of the partition, named as the
 * configuration names it:
 *
 *   sampling port, destination   read() at offset 0 copies the newest message,
 *       further reads of the same open file return 0 (end of file): `cat` prints
 *       one message. pread(fd, ..., 0) reads again. ENODATA: no message, or the
 *       writer is not running. EAGAIN: the writer overwrote it during every
 *       attempt. EBADMSG: the writer broke the protocol. EMSGSIZE: the buffer is
 *       shorter than the message. poll(): readable when a message is there that
 *       this open file has not read.
 *   sampling port, source        write() publishes a message; never waits.
 *   queuing port, destination    read() takes one message and waits for one
 *       unless O_NONBLOCK (EAGAIN). EMSGSIZE leaves the message in the queue.
 *   queuing port, source         write() appends one message. Where the queue is
 *       full: EAGAIN with O_NONBLOCK, else it waits, at most for the module's
 *       parameter write_timeout_ms, then ETIMEDOUT.
 *
 * A write longer than the port's message is EMSGSIZE. A port opens for its own
 * direction only (EACCES). All ports take BULKHEAD_IOC_PORT_STATUS.
 *
 * /dev/bulkhead/control takes the other requests.
 *
 * Values of kind, direction, mode, start condition, state and operation are
 * those of bulkhead_abi.h. Structures have no padding and do not change in size.
 */
#ifndef BULKHEAD_H
#define BULKHEAD_H

#include <linux/ioctl.h>
#include <linux/types.h>

#define BULKHEAD_NAME_LEN 32
#define BULKHEAD_PART_NUMBER_LEN 64
#define BULKHEAD_IMAGE_ID_LEN 32

/* age_ns without a message, or with one from the future. */
#define BULKHEAD_AGE_NONE (~0ULL)

/* A port as the configuration made it, and how it stands. */
struct bulkhead_port_status {
	__u32 index;		/* in: place in the port table (control only); out: the same */
	__u32 kind;
	__u32 direction;	/* this partition's */
	__u32 message_bytes;	/* longest message */
	__u32 depth;		/* slots of a sampling port, depth of a queue */
	__u32 peer_id;		/* partition at the other end, the first of several */
	__u32 epoch;		/* start count of this partition */
	__u32 peer_epoch;	/* start count of the peer, 0 while it does not run */
	__u32 valid;		/* sampling destination: 1 if not older than refresh_ns */
	__u32 doorbell;		/* 1 if an interrupt announces messages at the receiver */
	__u64 refresh_ns;	/* sampling: period within which a message is valid */
	__u64 age_ns;		/* sampling destination: of the newest message */
	__u64 messages;		/* sent by, or of this start's writer seen by, this end */
	__u64 used;		/* queue: messages in it */
	__u64 refused;		/* queue: messages given up because it was full */
	__u64 overruns;		/* sampling destination: reads that the writer spoilt */
	__u64 violations;	/* times the peer broke the protocol */
	__u64 doorbells;	/* interrupts taken (destination) or rung (source) */
	char name[BULKHEAD_NAME_LEN];
};

/* The partition itself. */
struct bulkhead_identity {
	__u32 abi_version;	/* the hypervisor's: major in bits 31:16 */
	__u32 id;
	__u32 vcpu_count;
	__u32 port_count;
	__u32 authority_count;
	__u32 start_count;
	__u32 start_condition;
	__u32 mode;
	__u32 plan_id;		/* BULKHEAD_NO_PLAN where it owns its CPUs */
	__u32 reserved;
	char name[BULKHEAD_NAME_LEN];
	char part_number[BULKHEAD_PART_NUMBER_LEN];
	__u8 image_id[BULKHEAD_IMAGE_ID_LEN];	/* as the boot banner shows it */
};

/* A partition over which this one has authority. */
struct bulkhead_authority {
	__u32 index;		/* in: place in the authority table */
	__u32 id;		/* of the target */
	__u32 rights;		/* bit n: operation n (BULKHEAD_CONTROL_*) is granted */
	__u32 reserved;
	char name[BULKHEAD_NAME_LEN];
};

/* An operation on such a partition. */
struct bulkhead_control {
	__u32 index;		/* in: place in the authority table */
	__u32 operation;	/* in: BULKHEAD_CONTROL_* */
	__u32 state;		/* out, of BULKHEAD_CONTROL_STATUS: BULKHEAD_STATE_* */
	__u32 reserved;
	__u32 starts;		/* out, of the same: since the board's reset */
	__u32 mode;		/* out, of the same: BULKHEAD_MODE_* */
	__u32 condition;	/* out, of the same: BULKHEAD_START_* */
	__u32 reserved2;
};

/* A partition by its index, as records of the health log name it. */
struct bulkhead_partition {
	__u32 index;		/* in */
	__u32 id;
	__u32 vcpu_first;	/* index in the trace of its first vCPU */
	__u32 vcpu_count;
	char name[BULKHEAD_NAME_LEN];
};

/* The plan of the shared CPUs. */
struct bulkhead_plan {
	__u32 plan_id;		/* runs now */
	__u32 next_id;		/* was asked for; plan_id if none was */
	__u64 since_ns;		/* since so long */
	__u64 next_ns;		/* begins in so long, 0 if none was asked for */
};

/* A record of the health log. Registers are 0 where none were recorded. */
struct bulkhead_health {
	__u32 cursor;		/* in and out: 0 first; the slot to look at next */
	__u32 partition;	/* index; BULKHEAD_HEALTH_NO_PARTITION: none to blame */
	__u32 vcpu;
	__u32 cpu;		/* physical, whose log it is */
	__u32 event;
	__u32 action;
	__u64 number;		/* on that CPU, from 0 on */
	__u64 time_ns;		/* since the counter's zero */
	__u64 code;
	__u64 esr;
	__u64 far;
	__u64 hpfar;
	__u64 elr;
	__u64 spsr;
	__u64 x[31];
};

/* Part of the trace rings of all CPUs, as the hypervisor's interface lays them out. */
struct bulkhead_trace {
	__u64 offset;		/* in: first byte wanted */
	__u64 bytes;		/* in: room in the buffer; out: bytes copied */
	__u64 total;		/* out: bytes of all rings */
	__u64 buffer;		/* in: where to put them */
};

#define BULKHEAD_IOC_MAGIC 0xBB
/* On every device; the index counts on the control device alone. ENOENT: no such port. */
#define BULKHEAD_IOC_PORT_STATUS _IOWR(BULKHEAD_IOC_MAGIC, 1, struct bulkhead_port_status)
#define BULKHEAD_IOC_IDENTITY _IOR(BULKHEAD_IOC_MAGIC, 2, struct bulkhead_identity)
/* ENOENT: no such entry. */
#define BULKHEAD_IOC_AUTHORITY _IOWR(BULKHEAD_IOC_MAGIC, 3, struct bulkhead_authority)
/*
 * EACCES: the configuration does not grant it. EALREADY: the target's state
 * makes it meaningless. EAGAIN: not now. EOPNOTSUPP: unknown to the hypervisor.
 * ENODATA: a warm restart of a partition that has no region to keep. EBUSY: a
 * restart of a partition with a bus master.
 */
#define BULKHEAD_IOC_CONTROL _IOWR(BULKHEAD_IOC_MAGIC, 4, struct bulkhead_control)
/* Argument by value: BULKHEAD_MODE_NORMAL or BULKHEAD_MODE_IDLE. Errors as above. */
#define BULKHEAD_IOC_SET_MODE _IO(BULKHEAD_IOC_MAGIC, 5)
/* ENOENT: no such partition. EACCES: neither log nor trace may be read. */
#define BULKHEAD_IOC_PARTITION _IOWR(BULKHEAD_IOC_MAGIC, 6, struct bulkhead_partition)
/* The next record at or behind the cursor. ENOENT: no more. EACCES: no right to read the log. */
#define BULKHEAD_IOC_HEALTH _IOWR(BULKHEAD_IOC_MAGIC, 7, struct bulkhead_health)
#define BULKHEAD_IOC_PLAN _IOR(BULKHEAD_IOC_MAGIC, 8, struct bulkhead_plan)
/* Argument by value: identifier of a plan. EINVAL: no such plan. Errors as for CONTROL. */
#define BULKHEAD_IOC_SET_PLAN _IO(BULKHEAD_IOC_MAGIC, 9)
/* The whole board. Returns only if it is refused. */
#define BULKHEAD_IOC_RESET_BOARD _IO(BULKHEAD_IOC_MAGIC, 10)
/* EACCES: no right to read the trace. */
#define BULKHEAD_IOC_TRACE _IOWR(BULKHEAD_IOC_MAGIC, 11, struct bulkhead_trace)

#endif
