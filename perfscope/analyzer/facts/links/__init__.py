"""Links between accelerators and between hosts: what collectives move over them, against what the links can carry."""
