/* Entry at EL1, MMU off, x0 = device tree. */

	.section .text.start, "ax"
	.global _start
_start:
	msr	daifset, #0xf
	msr	spsel, #1
	mov	x19, x0
	ldr	x1, =__stack_end
	mov	sp, x1
	ldr	x1, =vectors
	msr	vbar_el1, x1
	isb
	ldr	x1, =__bss_start
	ldr	x2, =__bss_end
1:	cmp	x1, x2
	b.hs	2f
	stp	xzr, xzr, [x1], #16
	b	1b
2:	mov	x0, x19
	bl	kernel_main
3:	wfi
	b	3b

/* As kernels of this kind do before they turn their caches on: DC CISW over every set and way of
   every level that CLIDR_EL1 names (Arm ARM, "Example code for cache maintenance"). */
	.text
	.global cache_clean_invalidate_all
cache_clean_invalidate_all:
	dsb	sy
	mrs	x0, clidr_el1
	ubfx	x3, x0, #24, #3			/* level of coherency */
	cbz	x3, 5f
	mov	x10, #0				/* level * 2 */
1:	add	x2, x10, x10, lsr #1
	lsr	x1, x0, x2
	and	x1, x1, #7
	cmp	x1, #2
	b.lt	4f				/* no data cache here */
	msr	csselr_el1, x10
	isb
	mrs	x1, ccsidr_el1
	and	x2, x1, #7
	add	x2, x2, #4			/* log2 of bytes in a line */
	ubfx	x4, x1, #3, #10			/* ways - 1 */
	clz	w5, w4
	ubfx	x7, x1, #13, #15		/* sets - 1 */
2:	mov	x9, x4
3:	lsl	x6, x9, x5
	orr	x11, x10, x6
	lsl	x6, x7, x2
	orr	x11, x11, x6
	dc	cisw, x11
	subs	x9, x9, #1
	b.ge	3b
	subs	x7, x7, #1
	b.ge	2b
4:	add	x10, x10, #2
	cmp	x10, x3, lsl #1
	b.lt	1b
5:	msr	csselr_el1, xzr
	dsb	sy
	isb
	ret

/* x0 = root table: 39-bit addresses, 4 KiB granule; attribute 0 Normal write-back, 1 Device-nGnRE. */
	.global mmu_on
mmu_on:
	ldr	x1, =0x04ff
	msr	mair_el1, x1
	ldr	x1, =0x00803519			/* T0SZ 25, write-back, inner shareable, EPD1 */
	mrs	x2, id_aa64mmfr0_el1
	and	x2, x2, #7
	orr	x1, x1, x2, lsl #32
	msr	tcr_el1, x1
	msr	ttbr0_el1, x0
	tlbi	vmalle1
	ic	iallu
	dsb	sy
	isb
	mrs	x1, sctlr_el1
	mov	x2, #0x1005			/* I, C, M */
	orr	x1, x1, x2
	msr	sctlr_el1, x1
	isb
	ret

	.global psci_smc
psci_smc:
	smc	#0
	ret
