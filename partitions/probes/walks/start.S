/* Entry at EL2, MMU and caches off. */

	.section .text.start, "ax"
	.global _start
_start:
	msr	daifset, #0xf
	msr	spsel, #1
	ldr	x1, =__stack_end
	mov	sp, x1
	ldr	x1, =vectors
	msr	vbar_el2, x1
	isb
	bl	answer
1:	wfi
	b	1b

/* uint64_t step(uint64_t address, uint64_t x0): executes one instruction at EL1 with every other register zero, by a
   software step (Arm ARM D2.11). ESR_EL2 if that instruction was aborted, 0 if it was executed: then the exception is at
   another address, that of the next instruction or, on QEMU, of a vector of EL1 that cannot be fetched. */
	.text
	.global step
step:
	stp	x19, x20, [sp, #-112]!
	stp	x21, x22, [sp, #16]
	stp	x23, x24, [sp, #32]
	stp	x25, x26, [sp, #48]
	stp	x27, x28, [sp, #64]
	stp	x29, x30, [sp, #80]
	str	x0, [sp, #96]
	msr	elr_el2, x0
	mov	x2, #0x3c5			/* EL1h, all masked */
	orr	x2, x2, #1 << 21		/* SS: the step is not done yet */
	msr	spsr_el2, x2
	ldr	x2, =0x30d00800			/* RES1 bits; MMU and caches off */
	msr	sctlr_el1, x2
	msr	vbar_el1, xzr
	msr	sp_el1, xzr
	msr	elr_el1, xzr
	msr	spsr_el1, xzr
	mov	x2, #1				/* MDSCR_EL1.SS */
	msr	mdscr_el1, x2
	mov	x0, x1
	.irp	n, 1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17,18,19,20,21,22,23,24,25,26,27,28,29,30
	mov	x\n, xzr
	.endr
	isb
	eret

stepped:
	mrs	x0, esr_el2
	mrs	x1, elr_el2
	ldr	x2, [sp, #96]
	cmp	x1, x2
	csel	x0, x0, xzr, eq
	msr	mdscr_el1, xzr
	isb
	ldp	x21, x22, [sp, #16]
	ldp	x23, x24, [sp, #32]
	ldp	x25, x26, [sp, #48]
	ldp	x27, x28, [sp, #64]
	ldp	x29, x30, [sp, #80]
	ldp	x19, x20, [sp], #112
	ret

/* What is stepped to try a write. */
	.global store
store:
	strb	wzr, [x0]

/* A synchronous exception of EL1 or EL0 ends a step; any other is a mistake of this program. */
	.balign	2048
vectors:
	mov	x0, x1
	.irp	n, 1,2,3,4,5,6,7,8,9,10,11,12,13,14,15
	.balign	128
	.if	\n == 8
	b	stepped
	.else
	mov	x0, #\n
	b	stray
	.endif
	.endr
