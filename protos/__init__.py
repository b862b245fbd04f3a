"""The contracts on the wire, with their generated stubs beside them."""
