/* The probe kernel: what its files share. */
#ifndef KERNEL_H
#define KERNEL_H

#include <stdint.h>

/* The canonical platform, which is QEMU virt's. */
#define UART 0x09000000UL
#define GICD 0x08000000UL
#define GICC 0x08010000UL
#define GICR 0x080a0000UL

#define TIMER_VIRTUAL 27u
#define TIMER_PHYSICAL 30u
#define SPURIOUS 1020u

static inline uint32_t read32(uintptr_t address)
{
	return *(volatile uint32_t *)address;
}

static inline void write32(uintptr_t address, uint32_t value)
{
	*(volatile uint32_t *)address = value;
}

static inline void write8(uintptr_t address, uint8_t value)
{
	*(volatile uint8_t *)address = value;
}

#define read_register(name) ({ \
	uint64_t value_; \
	__asm__ volatile("mrs %0, " name : "=r"(value_) : : "memory"); \
	value_; })
#define write_register(name, value) \
	__asm__ volatile("msr " name ", %0\n\tisb" : : "r"((uint64_t)(value)) : "memory")

static inline void irq_unmask(void)
{
	__asm__ volatile("msr daifclr, #2" : : : "memory");
}

static inline void irq_mask(void)
{
	__asm__ volatile("msr daifset, #2" : : : "memory");
}

/* gic.c: version 2 or 3, by ID_AA64PFR0_EL1.GIC. */
int gic_is_v3(void);
void gic_init(void);
void gic_enable(uint32_t intid, uint8_t priority);
uint32_t gic_acknowledge(void);
void gic_end(uint32_t value);
void gic_set_mask(uint8_t priority);
uint32_t gic_mask(void);
uint32_t gic_running_priority(void);
uint32_t gic_highest_pending(void);
void gic_send_to_self(uint32_t sgi);

/* start.S: set/way maintenance of all levels, and the MMU on with the given root. */
void cache_clean_invalidate_all(void);
void mmu_on(uint64_t root);
long psci_smc(uint64_t function, uint64_t argument);

#endif
