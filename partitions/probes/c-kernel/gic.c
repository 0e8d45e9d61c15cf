/* GICv2 (IHI0048) and GICv3 (IHI0069), as FreeRTOS and Zephyr drive them: all interrupts in one
   group, priority drop and deactivation in one step. */
#include "kernel.h"

#define D_CTLR 0x000
#define D_IGROUPR 0x080
#define D_ISENABLER 0x100
#define D_IPRIORITYR 0x400
#define D_ITARGETSR 0x800
#define D_SGIR 0xf00
#define C_CTLR 0x00
#define C_PMR 0x04
#define C_BPR 0x08
#define C_IAR 0x0c
#define C_EOIR 0x10
#define C_RPR 0x14
#define C_HPPIR 0x18
#define R_WAKER 0x14
#define R_SGI 0x10000

static uintptr_t local;

int gic_is_v3(void)
{
	return (read_register("id_aa64pfr0_el1") >> 24 & 0xf) != 0;
}

void gic_init(void)
{
	if (!gic_is_v3()) {
		local = GICD;
		write32(GICD + D_CTLR, 1);
		write32(GICC + C_PMR, 0xff);
		write32(GICC + C_BPR, 0);
		write32(GICC + C_CTLR, 1);
		return;
	}
	local = GICR + R_SGI;
	write32(GICD + D_CTLR, 1u << 4);
	write32(GICD + D_CTLR, 1u << 4 | 1u << 1);
	while (read32(GICD + D_CTLR) >> 31)
		;
	write32(GICR + R_WAKER, read32(GICR + R_WAKER) & ~2u);
	while (read32(GICR + R_WAKER) & 4)
		;
	write32(local + D_IGROUPR, 0xffffffff);
	write_register("S3_0_C12_C12_5", 7);	/* ICC_SRE_EL1 */
	write_register("S3_0_C4_C6_0", 0xff);	/* ICC_PMR_EL1 */
	write_register("S3_0_C12_C12_3", 0);	/* ICC_BPR1_EL1 */
	write_register("S3_0_C12_C12_4", 0);	/* ICC_CTLR_EL1 */
	write_register("S3_0_C12_C12_7", 1);	/* ICC_IGRPEN1_EL1 */
}

void gic_enable(uint32_t intid, uint8_t priority)
{
	write8(local + D_IPRIORITYR + intid, priority);
	write32(local + D_ISENABLER, 1u << intid);
}

uint32_t gic_acknowledge(void)
{
	uint32_t value = gic_is_v3() ? (uint32_t)read_register("S3_0_C12_C12_0") : read32(GICC + C_IAR);

	__asm__ volatile("dsb sy" : : : "memory");
	return value;
}

void gic_end(uint32_t value)
{
	if (gic_is_v3())
		write_register("S3_0_C12_C12_1", value);
	else
		write32(GICC + C_EOIR, value);
}

void gic_set_mask(uint8_t priority)
{
	if (gic_is_v3())
		write_register("S3_0_C4_C6_0", priority);
	else
		write32(GICC + C_PMR, priority);
}

uint32_t gic_mask(void)
{
	return gic_is_v3() ? (uint32_t)read_register("S3_0_C4_C6_0") : read32(GICC + C_PMR);
}

uint32_t gic_running_priority(void)
{
	return gic_is_v3() ? (uint32_t)read_register("S3_0_C12_C11_3") : read32(GICC + C_RPR);
}

uint32_t gic_highest_pending(void)
{
	return gic_is_v3() ? (uint32_t)read_register("S3_0_C12_C12_2") : read32(GICC + C_HPPIR) & 0x3ff;
}

void gic_send_to_self(uint32_t sgi)
{
	__asm__ volatile("dsb sy" : : : "memory");
	if (gic_is_v3())
		write_register("S3_0_C12_C11_5", (uint64_t)sgi << 24 | 1);
	else
		write32(GICD + D_SGIR, 2u << 24 | sgi);
}
