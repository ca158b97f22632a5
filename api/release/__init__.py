"""Kinds of the group `roost.birb.party`: Helm releases and what is wanted of them."""
