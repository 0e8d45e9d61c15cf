/*
 * Exception vectors of EL2 (Arm ARM D1.3.1), and the way back.
 *
 * The frame on the stack holds x0 to x30 at 8 * n, but for x30 of the short way, which lies with x18 in
 * x19's place: one store, one load. The handlers (boot.rs, `entries!`) take x0 = CPU block (TPIDR_EL2),
 * x1 = frame, x2 = ESR_EL2, and return 0 to resume the guest, anything else to have the CPU's vCPU
 * chosen anew. x19-x29 survive by the calling convention (AAPCS64 6.1.1); they go to the frame only
 * where the handler may need them: aborts and system-register traps, whose register may be any, and a
 * change of vCPU.
 *
 * Each vector is complete, without a branch to a common end: 32 instructions are just enough. With
 * SPECTRE_BHB they are not: there the vectors branch to the same code behind them, which first
 * overwrites the branch history that the guest has left (Arm, white paper "Spectre-BHB", 2022:
 * on Cortex-A72 eight iterations of a loop, then barriers), before the first indirect branch or return.
 */
	.equ FRAME_BYTES, 256
	.equ ESR_HVC0, 0x5a000000	/* HVC #0 from AArch64: class 0x16, IL */
	.equ FIRST_ACCESS, 0x18		/* class 0x18 and above: system registers, aborts */

	.macro save_caller
	stp	x0, x1, [sp, #-FRAME_BYTES]!
	stp	x2, x3, [sp, #16]
	stp	x4, x5, [sp, #32]
	stp	x6, x7, [sp, #48]
	stp	x8, x9, [sp, #64]
	stp	x10, x11, [sp, #80]
	stp	x12, x13, [sp, #96]
	stp	x14, x15, [sp, #112]
	stp	x16, x17, [sp, #128]
	stp	x18, x30, [sp, #144]
	.endm

	/* x30 is still the guest's, or has been loaded again. */
	.macro save_callee
	stp	x19, x20, [sp, #152]
	stp	x21, x22, [sp, #168]
	stp	x23, x24, [sp, #184]
	stp	x25, x26, [sp, #200]
	stp	x27, x28, [sp, #216]
	stp	x29, x30, [sp, #232]
	.endm

	.macro restore_caller base
	ldp	x2, x3, [\base, #16]
	ldp	x4, x5, [\base, #32]
	ldp	x6, x7, [\base, #48]
	ldp	x8, x9, [\base, #64]
	ldp	x10, x11, [\base, #80]
	ldp	x12, x13, [\base, #96]
	ldp	x14, x15, [\base, #112]
	ldp	x16, x17, [\base, #128]
	.endm

	/* Nothing speculates past the ERET. */
	.macro return
	eret
	dsb	nsh
	isb
	.endm

	.macro resume
	restore_caller sp
	ldp	x18, x30, [sp, #144]
	ldp	x0, x1, [sp], #FRAME_BYTES
	return
	.endm

	/* Clobbers x3, which is saved. */
	.macro forget_branches
	.if SPECTRE_BHB
	mov	x3, #8
1:	b	2f
2:	subs	x3, x3, #1
	b.ne	1b
	dsb	nsh
	isb
	.endif
	.endm

	/* The body of a vector, or the way to it. */
	.macro vector body
	.if SPECTRE_BHB
	b	\body\()_entry
	.else
	\body
	.endif
	.endm

	.macro synchronous
	save_caller
	forget_branches
	mrs	x2, esr_el2
	mov	w3, #ESR_HVC0
	cmp	x2, x3
	b.ne	trap
	mrs	x0, tpidr_el2
	mov	x1, sp
	bl	bulkhead_hvc
	cbnz	x0, reschedule
	resume
	.endm

	.macro system_error
	save_caller
	forget_branches
	save_callee
	mrs	x2, esr_el2
	b	serror
	.endm

	.macro asynchronous handler
	save_caller
	forget_branches
	mrs	x0, tpidr_el2
	bl	\handler
	cbnz	x0, reschedule
	resume
	.endm

	.macro interrupt
	asynchronous bulkhead_interrupt
	.endm

	.macro fast_interrupt
	asynchronous bulkhead_fast_interrupt
	.endm

	.section .text.vectors, "ax"
	.balign 0x800
	.global bulkhead_vectors
bulkhead_vectors:
	/* From EL2 itself: a defect of EL2, but for the SErrors that drain_serrors lets in. */
	.rept 7
	.balign 0x80
	b	el2_defect
	.endr
	.balign 0x80
	eret

	/* From a guest, AArch64. */
	.balign 0x80
	vector	synchronous

	.balign 0x80
	vector	interrupt

	/* FIQ: EL2's own interrupts where IRQs are the guest's. */
	.balign 0x80
	vector	fast_interrupt

	.balign 0x80
	vector	system_error

	/* From a guest in AArch32 state: EL0 only, and hidden by the ID registers. */
	.rept 4
	.balign 0x80
	vector	system_error
	.endr

	.balign 0x80
	.if SPECTRE_BHB
synchronous_entry:
	synchronous
interrupt_entry:
	interrupt
fast_interrupt_entry:
	fast_interrupt
system_error_entry:
	system_error
	.endif

	.balign 0x80
trap:
	lsr	x3, x2, #26
	mrs	x0, tpidr_el2
	mov	x1, sp
	cmp	x3, #FIRST_ACCESS
	b.hs	access
	bl	bulkhead_trap
	cbnz	x0, reschedule
	resume

	/* First the way that needs neither x19-x29 nor more than a look. */
access:
	bl	bulkhead_quick
	cbnz	x0, 1f
	resume
1:	ldr	x30, [sp, #152]
	save_callee
	mrs	x2, esr_el2
	mrs	x0, tpidr_el2
	mov	x1, sp
	bl	bulkhead_access
	cbz	x0, resume_all
	b	choose

serror:
	mrs	x0, tpidr_el2
	mov	x1, sp
	bl	bulkhead_serror
	cbz	x0, resume_all
	b	choose

reschedule:
	ldr	x30, [sp, #152]
	save_callee
choose:
	mrs	x0, tpidr_el2
	mov	x1, sp
	bl	bulkhead_reschedule
	b	1f
resume_all:
	mov	x0, sp
	/* x0 to x30 lie where x0 says: behind a change of vCPU where they are kept, not in the frame. */
1:	add	sp, sp, #FRAME_BYTES
	restore_caller x0
	ldp	x18, x19, [x0, #144]
	ldp	x20, x21, [x0, #160]
	ldp	x22, x23, [x0, #176]
	ldp	x24, x25, [x0, #192]
	ldp	x26, x27, [x0, #208]
	ldp	x28, x29, [x0, #224]
	ldr	x30, [x0, #240]
	ldp	x0, x1, [x0]
	return

	/* void bulkhead_enter(u64 index): the CPU's first guest. The stack starts anew. */
	.global bulkhead_enter
bulkhead_enter:
	stack_of_cpu
	sub	sp, x1, #FRAME_BYTES
	b	choose

	/* An exception of EL2: its registers go to the console, then the CPU stops. */
el2_defect:
	mrs	x0, esr_el2
	mrs	x1, elr_el2
	mrs	x2, far_el2
	mov	x3, sp
	mov	x4, x30
	adrp	x5, __emergency_stack_end
	add	x5, x5, :lo12:__emergency_stack_end
	mov	sp, x5
	b	bulkhead_defect
