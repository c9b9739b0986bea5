module bench/closedloop

go 1.24
