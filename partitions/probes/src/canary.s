// A known value in every register while the CPU sleeps. See canary.rs.
//
// x0 = seed; register n holds seed + n during WFI. Returns 0 in x0 if all came back.

.arch_extension fp
.arch_extension simd
.section .text.probes.canary, "ax"
.global __probes_canary
.type __probes_canary, %function
__probes_canary:
	stp	x29, x30, [sp, #-112]!
	stp	x19, x20, [sp, #16]
	stp	x21, x22, [sp, #32]
	stp	x23, x24, [sp, #48]
	stp	x25, x26, [sp, #64]
	stp	x27, x28, [sp, #80]
	str	x0, [sp, #96]
.irp n, 1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17,18,19,20,21,22,23,24,25,26,27,28,29,30
	add	x\n, x0, #\n
	dup	v\n\().2d, x\n
.endr
	dup	v0.2d, x0
	add	x1, x0, #31
	dup	v31.2d, x1
	add	x1, x0, #1
	wfi
.irp n, 1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17,18,19,20,21,22,23,24,25,26,27,28,29,30
	sub	x\n, x\n, #\n
	eor	x\n, x\n, x0
.endr
.irp n, 2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17,18,19,20,21,22,23,24,25,26,27,28,29,30
	orr	x1, x1, x\n
.endr
	ldr	x2, [sp, #96]
	eor	x2, x2, x0
	orr	x1, x1, x2
.irp n, 0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17,18,19,20,21,22,23,24,25,26,27,28,29,30,31
	umov	x2, v\n\().d[0]
	umov	x3, v\n\().d[1]
	sub	x2, x2, #\n
	sub	x3, x3, #\n
	eor	x2, x2, x0
	eor	x3, x3, x0
	orr	x1, x1, x2
	orr	x1, x1, x3
.endr
	mov	x0, x1
	ldp	x27, x28, [sp, #80]
	ldp	x25, x26, [sp, #64]
	ldp	x23, x24, [sp, #48]
	ldp	x21, x22, [sp, #32]
	ldp	x19, x20, [sp, #16]
	ldp	x29, x30, [sp], #112
	ret
.size __probes_canary, . - __probes_canary

// x0 = function identifier, x1 = 0: HVC, 1: SMC. Returns 0 if x4 to x30 come back from the call
// (SMCCC 1.1: the callee keeps them).
.global __probes_call_canary
.type __probes_call_canary, %function
__probes_call_canary:
	stp	x29, x30, [sp, #-112]!
	stp	x19, x20, [sp, #16]
	stp	x21, x22, [sp, #32]
	stp	x23, x24, [sp, #48]
	stp	x25, x26, [sp, #64]
	stp	x27, x28, [sp, #80]
.irp n, 4,5,6,7,8,9,10,11,12,13,14,15,16,17,18,19,20,21,22,23,24,25,26,27,28,29,30
	mov	x\n, #(0x4200 + \n)
.endr
	cbnz	x1, 1f
	hvc	#0
	b	2f
1:	smc	#0
2:	mov	x0, xzr
.irp n, 4,5,6,7,8,9,10,11,12,13,14,15,16,17,18,19,20,21,22,23,24,25,26,27,28,29,30
	mov	x1, #(0x4200 + \n)
	eor	x\n, x\n, x1
	orr	x0, x0, x\n
.endr
	ldp	x27, x28, [sp, #80]
	ldp	x25, x26, [sp, #64]
	ldp	x23, x24, [sp, #48]
	ldp	x21, x22, [sp, #32]
	ldp	x19, x20, [sp, #16]
	ldp	x29, x30, [sp], #112
	ret
.size __probes_call_canary, . - __probes_call_canary
