// Entered by EL2 at EL1: x0 = load list, x1 = end of the stack, MMU off, HCR_EL2.DC = 1.

.section .text.boot, "ax"
.global _start
_start:
	msr	daifset, #0xf
	mov	x20, x1
	mov	sp, x1
	bl	__bulkhead_load
	mov	x19, x0				// failed entry, or all ones

	// Scrub the stack: it lies in the partition's memory. 4096 is STACK_BYTES of bulkhead-abi.
	sub	x1, x20, #4096
	mov	x2, x1
1:	stp	xzr, xzr, [x2], #16
	cmp	x2, x20
	b.lo	1b
	mrs	x3, ctr_el0
	ubfx	x3, x3, #16, #4			// DminLine: log2 of words
	mov	x4, #4
	lsl	x4, x4, x3
2:	dc	civac, x1
	add	x1, x1, x4
	cmp	x1, x20
	b.lo	2b
	dsb	sy
	ic	iallu				// what was cached of the former code
	dsb	sy
	isb

	cmn	x19, #1
	b.ne	3f
	mov	x0, #0x003e			// LOADER_DONE
	movk	x0, #0xc600, lsl #16
	hvc	#0
3:	mov	x0, #0x003f			// LOADER_FAILED, x1 = entry; also if DONE comes back
	movk	x0, #0xc600, lsl #16
	mov	x1, x19
	hvc	#0
4:	wfi
	b	4b
