/*
 * Exception vectors of EL2 (Arm ARM D1.3.1), and the way back.
 *
 * The frame on the stack holds x0 to x30 at 8 * n. A trap saves x0-x18 and x30 and calls the handler
 * of its kind from the CPU block (TPIDR_EL2): x0 = CPU block, x1 = frame, x2 = ESR_EL2. x19-x29
 * survive by the calling convention (AAPCS64 6.1.1); they go to the frame only where the handler
 * may need them: aborts and system-register traps, whose register may be any, and a change of vCPU.
 * A handler returns 0 to resume the guest, anything else to have the CPU's vCPU chosen anew.
 *
 * Offsets of the CPU block stand in cpu.rs, which checks them.
 */
	.equ FRAME_BYTES, 256
	.equ CPU_CALL, 0		/* HVC, SMC and other traps below class 0x18 */
	.equ CPU_ACCESS, 8		/* class 0x18 and above: system registers, aborts */
	.equ CPU_INTERRUPT, 16
	.equ CPU_SERROR, 24
	.equ CPU_RESCHEDULE, 32

	.macro save_caller
	sub	sp, sp, #FRAME_BYTES
	stp	x0, x1, [sp, #0]
	stp	x2, x3, [sp, #16]
	stp	x4, x5, [sp, #32]
	stp	x6, x7, [sp, #48]
	stp	x8, x9, [sp, #64]
	stp	x10, x11, [sp, #80]
	stp	x12, x13, [sp, #96]
	stp	x14, x15, [sp, #112]
	stp	x16, x17, [sp, #128]
	str	x18, [sp, #144]
	str	x30, [sp, #240]
	.endm

	.macro save_callee
	stp	x19, x20, [sp, #152]
	stp	x21, x22, [sp, #168]
	stp	x23, x24, [sp, #184]
	stp	x25, x26, [sp, #200]
	stp	x27, x28, [sp, #216]
	str	x29, [sp, #232]
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
	save_caller
	mrs	x2, esr_el2
	mrs	x0, tpidr_el2
	mov	x1, sp
	lsr	x3, x2, #26
	cmp	x3, #0x18
	b.hs	access
	ldr	x3, [x0, #CPU_CALL]
	blr	x3
	cbnz	x0, reschedule
	b	resume

	.balign 0x80
	save_caller
	mrs	x0, tpidr_el2
	mov	x1, sp
	ldr	x3, [x0, #CPU_INTERRUPT]
	blr	x3
	cbnz	x0, reschedule
	b	resume

	/* FIQ: EL2 makes every interrupt Group 1; one that still comes is treated alike. */
	.balign 0x80
	save_caller
	mrs	x0, tpidr_el2
	mov	x1, sp
	ldr	x3, [x0, #CPU_INTERRUPT]
	blr	x3
	cbnz	x0, reschedule
	b	resume

	.balign 0x80
	save_caller
	save_callee
	mrs	x2, esr_el2
	b	serror

	/* From a guest in AArch32 state: EL0 only, and hidden by the ID registers. */
	.rept 4
	.balign 0x80
	save_caller
	save_callee
	mrs	x2, esr_el2
	b	serror
	.endr

	.balign 0x80
access:
	save_callee
	ldr	x3, [x0, #CPU_ACCESS]
	blr	x3
	cbz	x0, resume_all
	b	choose

serror:
	mrs	x0, tpidr_el2
	mov	x1, sp
	ldr	x3, [x0, #CPU_SERROR]
	blr	x3
	cbz	x0, resume_all
	b	choose

reschedule:
	save_callee
choose:
	mrs	x0, tpidr_el2
	mov	x1, sp
	ldr	x3, [x0, #CPU_RESCHEDULE]
	blr	x3
resume_all:
	ldp	x19, x20, [sp, #152]
	ldp	x21, x22, [sp, #168]
	ldp	x23, x24, [sp, #184]
	ldp	x25, x26, [sp, #200]
	ldp	x27, x28, [sp, #216]
	ldr	x29, [sp, #232]
resume:
	ldp	x2, x3, [sp, #16]
	ldp	x4, x5, [sp, #32]
	ldp	x6, x7, [sp, #48]
	ldp	x8, x9, [sp, #64]
	ldp	x10, x11, [sp, #80]
	ldp	x12, x13, [sp, #96]
	ldp	x14, x15, [sp, #112]
	ldp	x16, x17, [sp, #128]
	ldr	x18, [sp, #144]
	ldr	x30, [sp, #240]
	ldp	x0, x1, [sp, #0]
	add	sp, sp, #FRAME_BYTES
	eret
	/* Nothing speculates past the ERET. */
	dsb	nsh
	isb

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
