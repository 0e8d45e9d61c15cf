// SPDX-License-Identifier: GPL-2.0
/*
 * The port protocols of Bulkhead. See port.h.
 *
 * Ordering: whoever publishes a word (sequence, LATEST, HEAD, TAIL, EPOCH) uses
 * a store-release, whoever acts on it a load-acquire. The copy of a sampling
 * slot lies between an acquire and a read barrier, as in a sequence lock.
 */
#ifdef __KERNEL__
#include <linux/string.h>
#include <asm/barrier.h>
#include <asm/rwonce.h>
#else
#include <string.h>
#define READ_ONCE(x) __atomic_load_n(&(x), __ATOMIC_RELAXED)
#define WRITE_ONCE(x, v) __atomic_store_n(&(x), (v), __ATOMIC_RELAXED)
#define smp_load_acquire(p) __atomic_load_n((p), __ATOMIC_ACQUIRE)
#define smp_store_release(p, v) __atomic_store_n((p), (v), __ATOMIC_RELEASE)
#define smp_rmb() __atomic_thread_fence(__ATOMIC_ACQUIRE)
#define smp_wmb() __atomic_thread_fence(__ATOMIC_RELEASE)
#endif

#include "port.h"
#include "bulkhead_abi.h"

#define NS_PER_SECOND 1000000000ULL

static u32 *word32(void *region, u64 offset)
{
	return (u32 *)((u8 *)region + offset);
}

static u64 *word64(void *region, u64 offset)
{
	return (u64 *)((u8 *)region + offset);
}

static u32 slot_stride(u32 kind, u32 message_bytes)
{
	u32 header = kind == BULKHEAD_KIND_SAMPLING ? BULKHEAD_SAMPLING_SLOT_DATA :
						      BULKHEAD_PRODUCER_SLOT_DATA;

	return header + ((message_bytes + 7) & ~7U);
}

/*
 * Both kinds put their first slot at the same offset; slot_of() relies on it.
 * The modulus is the port table's, never the peer's.
 */
_Static_assert(BULKHEAD_SAMPLING_SLOTS == BULKHEAD_PRODUCER_SLOTS, "slot offset");
_Static_assert(BULKHEAD_SAMPLING_EPOCH == BULKHEAD_PRODUCER_EPOCH, "epoch offset");

static u8 *slot_of(const struct bh_port *port, u64 number)
{
	return (u8 *)port->writer + BULKHEAD_SAMPLING_SLOTS + (number % port->slots) * port->stride;
}

static bool admits(const struct bh_port *port, u32 length)
{
	return length && length <= port->message_bytes;
}

/* Bytes of the writer's region; message_bytes and slots must be below 2^31. */
u64 bh_region_bytes(u32 kind, u32 message_bytes, u32 slots)
{
	return BULKHEAD_SAMPLING_SLOTS + (u64)slot_stride(kind, message_bytes) * slots;
}

/* Start count of the peer as the hypervisor publishes it. Any context. */
u32 bh_peer_epoch(const struct bh_port *port)
{
	return READ_ONCE(*port->peer_epoch);
}

/* The writer's epoch if its region was set up by its current start, else 0. Any context. */
static u32 believed_writer(const struct bh_port *port)
{
	u32 published = bh_peer_epoch(port);

	if (smp_load_acquire(word32(port->writer, BULKHEAD_PRODUCER_EPOCH)) != published)
		return 0;
	return published;
}

/* Where a source continues: after its own last message, if this start already wrote any. */
static void start_source(struct bh_port *port)
{
	u32 *epoch = word32(port->writer, BULKHEAD_PRODUCER_EPOCH);
	u64 *count = word64(port->writer, BULKHEAD_PRODUCER_HEAD);

	if (READ_ONCE(*epoch) == port->own_epoch) {
		port->position = READ_ONCE(*count);
	} else {
		port->position = 0;
		WRITE_ONCE(*count, 0);
		if (port->kind == BULKHEAD_KIND_QUEUING)
			WRITE_ONCE(*word64(port->writer, BULKHEAD_PRODUCER_REFUSED), 0);
		smp_store_release(epoch, port->own_epoch);
	}
	/* A consumer not yet believed may have taken none of what is in the ring. */
	port->believed_tail = port->position < port->slots ? 0 : port->position - port->slots;
}

/* A consumer starts with an empty queue, or where an earlier instance in this start stopped. */
static void start_consumer(struct bh_port *port)
{
	u32 *epoch = word32(port->consumer, BULKHEAD_CONSUMER_EPOCH);
	u32 *peer_epoch = word32(port->consumer, BULKHEAD_CONSUMER_PEER_EPOCH);
	u64 *tail = word64(port->consumer, BULKHEAD_CONSUMER_TAIL);

	if (READ_ONCE(*epoch) == port->own_epoch) {
		port->position = READ_ONCE(*tail);
		port->seen_epoch = READ_ONCE(*peer_epoch);
		return;
	}
	port->seen_epoch = believed_writer(port);
	port->position = 0;
	if (port->seen_epoch)
		port->position = smp_load_acquire(word64(port->writer, BULKHEAD_PRODUCER_HEAD));
	WRITE_ONCE(*tail, port->position);
	smp_store_release(peer_epoch, port->seen_epoch);
	smp_store_release(epoch, port->own_epoch);
}

/* Sets up this side of the port; the description in @port is complete and checked. */
void bh_port_start(struct bh_port *port)
{
	port->stride = slot_stride(port->kind, port->message_bytes);
	port->overruns = 0;
	port->violations = 0;
	port->seen_epoch = 0;
	if (port->direction == BULKHEAD_DIRECTION_SOURCE)
		start_source(port);
	else if (port->kind == BULKHEAD_KIND_QUEUING)
		start_consumer(port);
}

/* Nanoseconds since @stamp_ticks; BH_NO_AGE if that lies in the future. Any context. */
u64 bh_age_ns(const struct bh_port *port, u64 stamp_ticks, u64 now_ticks)
{
	u64 ticks = now_ticks - stamp_ticks;
	u64 seconds = ticks / port->clock_hz;

	if (stamp_ticks > now_ticks || seconds >= BH_NO_AGE / NS_PER_SECOND)
		return BH_NO_AGE;
	return seconds * NS_PER_SECOND + ticks % port->clock_hz * NS_PER_SECOND / port->clock_hz;
}

/* Whether a message of this age is valid by the port's refresh period. Any context. */
bool bh_fresh(const struct bh_port *port, u64 age_ns)
{
	return age_ns != BH_NO_AGE && age_ns <= port->refresh_ns;
}

/* Publishes a message; wait-free. */
enum bh_result bh_sampling_write(struct bh_port *port, const void *data, u32 length, u64 now_ticks)
{
	u64 number = port->position + 1;
	u8 *slot = slot_of(port, number);

	if (!admits(port, length))
		return BH_LENGTH;
	WRITE_ONCE(*word64(slot, BULKHEAD_SAMPLING_SLOT_SEQUENCE), 0);
	smp_wmb(); /* pairs with smp_rmb() in read_slot() */
	WRITE_ONCE(*word64(slot, BULKHEAD_SAMPLING_SLOT_TIMESTAMP_TICKS), now_ticks);
	WRITE_ONCE(*word32(slot, BULKHEAD_SAMPLING_SLOT_LENGTH), length);
	memcpy(slot + BULKHEAD_SAMPLING_SLOT_DATA, data, length);
	smp_store_release(word64(slot, BULKHEAD_SAMPLING_SLOT_SEQUENCE), number);
	smp_store_release(word64(port->writer, BULKHEAD_SAMPLING_LATEST), number);
	port->position = number;
	return BH_OK;
}

/* Number of the newest message of a believed writer and its epoch, else 0. Any context. */
u64 bh_sampling_latest(const struct bh_port *port, u32 *epoch)
{
	*epoch = believed_writer(port);
	if (!*epoch)
		return 0;
	return smp_load_acquire(word64(port->writer, BULKHEAD_SAMPLING_LATEST));
}

/* One attempt to copy the newest message out. */
static enum bh_result read_slot(struct bh_port *port, void *buffer, struct bh_stamp *stamp)
{
	u8 *slot;

	stamp->sequence = bh_sampling_latest(port, &stamp->epoch);
	if (!stamp->sequence)
		return BH_EMPTY;
	slot = slot_of(port, stamp->sequence);
	if (smp_load_acquire(word64(slot, BULKHEAD_SAMPLING_SLOT_SEQUENCE)) != stamp->sequence)
		return BH_OVERRUN;
	stamp->ticks = READ_ONCE(*word64(slot, BULKHEAD_SAMPLING_SLOT_TIMESTAMP_TICKS));
	stamp->length = READ_ONCE(*word32(slot, BULKHEAD_SAMPLING_SLOT_LENGTH));
	if (buffer && admits(port, stamp->length))
		memcpy(buffer, slot + BULKHEAD_SAMPLING_SLOT_DATA, stamp->length);
	smp_rmb();
	if (READ_ONCE(*word64(slot, BULKHEAD_SAMPLING_SLOT_SEQUENCE)) != stamp->sequence ||
	    believed_writer(port) != stamp->epoch)
		return BH_OVERRUN;
	/* Only now is the length known to belong to a complete message. */
	return admits(port, stamp->length) ? BH_OK : BH_VIOLATION;
}

/*
 * Copies the newest message to @buffer (of message_bytes; NULL: only the stamp).
 * A writer that spoils BH_SAMPLING_ATTEMPTS copies in a row is an overrun.
 */
enum bh_result bh_sampling_read(struct bh_port *port, void *buffer, struct bh_stamp *stamp)
{
	int attempt;

	for (attempt = 0; attempt < BH_SAMPLING_ATTEMPTS; attempt++) {
		enum bh_result result = read_slot(port, buffer, stamp);

		if (result == BH_VIOLATION)
			port->violations++;
		if (result != BH_OVERRUN)
			return result;
	}
	port->overruns++;
	return BH_OVERRUN;
}

/*
 * The consumer's tail if it may be believed, else the last that was. Returns
 * false if the consumer is current and its tail is impossible: behind what it
 * took before or ahead of what was sent. Any context.
 */
static bool consumer_tail(const struct bh_port *port, u64 *tail)
{
	u64 position = READ_ONCE(port->position);
	u32 published = bh_peer_epoch(port);
	u64 claimed;

	*tail = READ_ONCE(port->believed_tail);
	if (!published ||
	    smp_load_acquire(word32(port->consumer, BULKHEAD_CONSUMER_EPOCH)) != published ||
	    smp_load_acquire(word32(port->consumer, BULKHEAD_CONSUMER_PEER_EPOCH)) !=
		    port->own_epoch)
		return true;
	claimed = smp_load_acquire(word64(port->consumer, BULKHEAD_CONSUMER_TAIL));
	/* A consumer being restarted has its region zeroed meanwhile. */
	if (bh_peer_epoch(port) != published)
		return true;
	if (claimed < *tail || claimed > position)
		return false;
	*tail = claimed;
	return true;
}

/* Whether bh_queue_send() would find a slot. Any context. */
bool bh_queue_has_room(const struct bh_port *port)
{
	u64 tail;

	consumer_tail(port, &tail);
	return READ_ONCE(port->position) - tail < port->slots;
}

/* Appends a message. A tail out of bounds is counted and not believed. */
enum bh_result bh_queue_send(struct bh_port *port, const void *data, u32 length, u64 now_ticks)
{
	u8 *slot = slot_of(port, port->position);
	u64 tail;

	if (!admits(port, length))
		return BH_LENGTH;
	if (!consumer_tail(port, &tail))
		port->violations++;
	WRITE_ONCE(port->believed_tail, tail);
	if (port->position - tail >= port->slots)
		return BH_FULL;
	WRITE_ONCE(*word32(slot, BULKHEAD_PRODUCER_SLOT_LENGTH), length);
	WRITE_ONCE(*word64(slot, BULKHEAD_PRODUCER_SLOT_TIMESTAMP_TICKS), now_ticks);
	memcpy(slot + BULKHEAD_PRODUCER_SLOT_DATA, data, length);
	WRITE_ONCE(port->position, port->position + 1);
	smp_store_release(word64(port->writer, BULKHEAD_PRODUCER_HEAD), port->position);
	return BH_OK;
}

/* Counts a message that was given up because the queue stayed full. */
void bh_queue_refuse(struct bh_port *port)
{
	u64 *refused = word64(port->writer, BULKHEAD_PRODUCER_REFUSED);

	WRITE_ONCE(*refused, READ_ONCE(*refused) + 1);
}

/* Messages between the producer's head and this consumer; above slots: a violation. Any context. */
static u64 pending(const struct bh_port *port)
{
	u32 epoch = believed_writer(port);
	u64 head;

	if (!epoch)
		return 0;
	head = smp_load_acquire(word64(port->writer, BULKHEAD_PRODUCER_HEAD));
	return epoch == READ_ONCE(port->seen_epoch) ? head - READ_ONCE(port->position) : head;
}

/* Whether bh_queue_peek() has anything to say. Any context. */
bool bh_queue_has_message(const struct bh_port *port)
{
	return pending(port) != 0;
}

static void publish_tail(struct bh_port *port, u64 tail)
{
	WRITE_ONCE(port->position, tail);
	smp_store_release(word64(port->consumer, BULKHEAD_CONSUMER_TAIL), tail);
}

/* Adopts a producer that started anew. */
static void adopt(struct bh_port *port, u32 epoch)
{
	publish_tail(port, 0);
	WRITE_ONCE(port->seen_epoch, epoch);
	smp_store_release(word32(port->consumer, BULKHEAD_CONSUMER_PEER_EPOCH), epoch);
}

/*
 * Copies the oldest message to @buffer, without taking it: bh_queue_consume()
 * does. A head out of bounds empties the queue, a length out of bounds drops
 * that message; both are violations.
 */
enum bh_result bh_queue_peek(struct bh_port *port, void *buffer, u32 capacity,
			     struct bh_stamp *stamp)
{
	u64 head;
	u8 *slot;

	stamp->epoch = believed_writer(port);
	if (!stamp->epoch)
		return BH_EMPTY;
	if (stamp->epoch != port->seen_epoch)
		adopt(port, stamp->epoch);
	head = smp_load_acquire(word64(port->writer, BULKHEAD_PRODUCER_HEAD));
	if (head == port->position)
		return BH_EMPTY;
	if (head - port->position > port->slots) {
		port->violations++;
		publish_tail(port, head);
		return BH_VIOLATION;
	}
	slot = slot_of(port, port->position);
	stamp->sequence = port->position;
	stamp->ticks = READ_ONCE(*word64(slot, BULKHEAD_PRODUCER_SLOT_TIMESTAMP_TICKS));
	stamp->length = READ_ONCE(*word32(slot, BULKHEAD_PRODUCER_SLOT_LENGTH));
	if (admits(port, stamp->length) && stamp->length <= capacity)
		memcpy(buffer, slot + BULKHEAD_PRODUCER_SLOT_DATA, stamp->length);
	smp_rmb();
	/* A producer that restarted meanwhile had its region zeroed under the copy. */
	if (believed_writer(port) != stamp->epoch)
		return BH_EMPTY;
	if (!admits(port, stamp->length)) {
		port->violations++;
		bh_queue_consume(port);
		return BH_VIOLATION;
	}
	return stamp->length <= capacity ? BH_OK : BH_LENGTH;
}

/* Takes the message that bh_queue_peek() returned; its slot is the producer's again. */
void bh_queue_consume(struct bh_port *port)
{
	publish_tail(port, port->position + 1);
}

/* Messages in the queue, seen from this side; at most slots. Any context. */
u64 bh_queue_used(const struct bh_port *port)
{
	u64 used, tail;

	if (port->direction == BULKHEAD_DIRECTION_SOURCE) {
		consumer_tail(port, &tail);
		used = READ_ONCE(port->position) - tail;
	} else {
		used = pending(port);
	}
	return used < port->slots ? used : port->slots;
}

/* Messages that the producer gave up, as far as it is believed. Any context. */
u64 bh_queue_refused(const struct bh_port *port)
{
	if (port->direction == BULKHEAD_DIRECTION_DESTINATION && !believed_writer(port))
		return 0;
	return READ_ONCE(*word64(port->writer, BULKHEAD_PRODUCER_REFUSED));
}
