/*
 * What this plugin uses of QEMU's interface for TCG plugins, API version 4 (QEMU 9.2 and later),
 * written from its documentation (docs/devel/tcg-plugins.rst): Debian ships no header.
 */
#ifndef METER_QEMU_H
#define METER_QEMU_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define QEMU_PLUGIN_API 4

typedef uint64_t plugin_id;
typedef uint32_t meminfo;

struct qemu_plugin_tb;
struct qemu_plugin_insn;
struct qemu_plugin_hwaddr;
struct qemu_plugin_register;

/* What QEMU says of itself; only the beginning is used. */
struct qemu_info {
	const char *target_name;
};

enum callback_registers { NO_REGISTERS = 0, READS_REGISTERS = 1 };
enum memory_access { ON_LOAD = 1, ON_STORE = 2, ON_BOTH = 3 };

/* A register as qemu_plugin_get_registers lists it. */
struct register_entry {
	struct qemu_plugin_register *handle;
	const char *name;
	const char *feature;
};

/* Value of an access; `kind` is 0 to 4 for 1, 2, 4, 8 and 16 bytes. */
struct memory_value {
	uint32_t kind;
	union {
		uint8_t u8;
		uint16_t u16;
		uint32_t u32;
		uint64_t u64;
		struct {
			uint64_t low;
			uint64_t high;
		} u128;
	} data;
};

/* GLib's arrays, as far as their fields are public. */
struct g_array {
	char *data;
	unsigned length;
};

struct g_array *g_byte_array_new(void);
struct g_array *g_byte_array_set_size(struct g_array *array, unsigned length);

void qemu_plugin_register_vcpu_init_cb(plugin_id id, void (*callback)(plugin_id, unsigned));
void qemu_plugin_register_vcpu_tb_trans_cb(plugin_id id, void (*callback)(plugin_id, struct qemu_plugin_tb *));
void qemu_plugin_register_atexit_cb(plugin_id id, void (*callback)(plugin_id, void *), void *user);
void qemu_plugin_register_vcpu_insn_exec_cb(struct qemu_plugin_insn *insn, void (*callback)(unsigned, void *),
					    enum callback_registers registers, void *user);
void qemu_plugin_register_vcpu_mem_cb(struct qemu_plugin_insn *insn,
				      void (*callback)(unsigned, meminfo, uint64_t, void *),
				      enum callback_registers registers, enum memory_access access, void *user);
size_t qemu_plugin_tb_n_insns(const struct qemu_plugin_tb *tb);
struct qemu_plugin_insn *qemu_plugin_tb_get_insn(const struct qemu_plugin_tb *tb, size_t index);
size_t qemu_plugin_insn_data(const struct qemu_plugin_insn *insn, void *to, size_t bytes);
uint64_t qemu_plugin_insn_vaddr(const struct qemu_plugin_insn *insn);
void *qemu_plugin_insn_haddr(const struct qemu_plugin_insn *insn);
struct qemu_plugin_hwaddr *qemu_plugin_get_hwaddr(meminfo info, uint64_t vaddr);
bool qemu_plugin_hwaddr_is_io(const struct qemu_plugin_hwaddr *address);
uint64_t qemu_plugin_hwaddr_phys_addr(const struct qemu_plugin_hwaddr *address);
bool qemu_plugin_mem_is_store(meminfo info);
struct memory_value qemu_plugin_mem_get_value(meminfo info);
struct g_array *qemu_plugin_get_registers(void);
int qemu_plugin_read_register(struct qemu_plugin_register *handle, struct g_array *buffer);
void qemu_plugin_outs(const char *text);

#endif
