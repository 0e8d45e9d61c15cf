/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The port protocols of Bulkhead: sampling and queuing ports over shared memory.
 *
 * This file and port.c know no kernel service but barriers and memcpy, so that
 * they are tested on the host (tests/). Layouts and rules: hv/abi/src/port.rs.
 *
 * The peer is hostile: its words are read once, compared with what the
 * information region says, and never waited for. Functions that change a port's
 * own state (all but those marked "any context") need the caller's lock.
 */
#ifndef BULKHEAD_PORT_H
#define BULKHEAD_PORT_H

#ifdef __KERNEL__
#include <linux/types.h>
#else
#include <stdbool.h>
#include <stddef.h>
#include <linux/types.h>
typedef __u32 u32;
typedef __u64 u64;
typedef __u8 u8;
#endif

/* Reads of a slot that a faster writer may spoil before the reader gives up. */
#define BH_SAMPLING_ATTEMPTS 4
/* Age of a message that does not exist or comes from the future. */
#define BH_NO_AGE (~0ULL)

/* Outcome of a port operation. */
enum bh_result {
	BH_OK = 0,
	BH_EMPTY,	/* no message that may be believed */
	BH_FULL,	/* the consumer leaves no slot */
	BH_LENGTH,	/* the message is empty, or longer than the port or the buffer takes */
	BH_OVERRUN,	/* the writer spoilt every attempt to read */
	BH_VIOLATION,	/* the peer broke the protocol; counted */
};

/* One port, as the information region's port table describes it. */
struct bh_port {
	u32 kind;		/* BULKHEAD_KIND_* */
	u32 direction;		/* BULKHEAD_DIRECTION_*, ours */
	u32 message_bytes;	/* longest message */
	u32 slots;		/* slots or depth */
	u32 own_epoch;		/* this partition's start count */
	u32 stride;		/* bytes from slot to slot; set by bh_port_start() */
	u64 refresh_ns;		/* sampling: older is invalid */
	u64 clock_hz;		/* of the tick counter */
	void *writer;		/* region of the writer (producer) */
	void *consumer;		/* region of the consumer; NULL for sampling */
	const u32 *peer_epoch;	/* word that the hypervisor publishes; 0: not running */

	u64 position;		/* next sequence (source), tail (consumer) */
	u64 believed_tail;	/* producer: last tail of a consumer it believed */
	u32 seen_epoch;		/* consumer: epoch that position belongs to */
	u64 overruns;
	u64 violations;
};

/* What a message carries besides its bytes. */
struct bh_stamp {
	u64 sequence;	/* sampling: number since the writer's start */
	u64 ticks;	/* counter when it was written */
	u32 epoch;	/* the writer's */
	u32 length;
};

u64 bh_region_bytes(u32 kind, u32 message_bytes, u32 slots);
void bh_port_start(struct bh_port *port);
u64 bh_age_ns(const struct bh_port *port, u64 stamp_ticks, u64 now_ticks);
bool bh_fresh(const struct bh_port *port, u64 age_ns);
u32 bh_peer_epoch(const struct bh_port *port);

enum bh_result bh_sampling_write(struct bh_port *port, const void *data, u32 length, u64 now_ticks);
enum bh_result bh_sampling_read(struct bh_port *port, void *buffer, struct bh_stamp *stamp);
u64 bh_sampling_latest(const struct bh_port *port, u32 *epoch);

bool bh_queue_has_room(const struct bh_port *port);
enum bh_result bh_queue_send(struct bh_port *port, const void *data, u32 length, u64 now_ticks);
void bh_queue_refuse(struct bh_port *port);
bool bh_queue_has_message(const struct bh_port *port);
enum bh_result bh_queue_peek(struct bh_port *port, void *buffer, u32 capacity,
			     struct bh_stamp *stamp);
void bh_queue_consume(struct bh_port *port);
u64 bh_queue_used(const struct bh_port *port);
u64 bh_queue_refused(const struct bh_port *port);

#endif
