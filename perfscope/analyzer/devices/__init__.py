"""The devices themselves: clocks, power, links, placement, errors, other jobs on them."""
