"""Wire contract: see the .proto file in this folder."""
