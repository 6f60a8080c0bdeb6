"""What a person may ask, one file per verb. Each function takes the Desk, the Caller, and what was asked; it
answers with plain values or raises one of jobd.errors. HTTP, JSON on the wire and sockets are the api's; what
happens by itself is the engine's."""
