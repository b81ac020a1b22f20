"""What a run goes through and is watched by, one idea a file: each an object beside the trainer that knows its own rules.

| file | phase | paper |
|---|---|---|
| `autoencoder_start` | the encoder first learns as an autoencoder, then the decoder may begin anew | Li et al. 2019 |
| `encoder_start` | the encoder stays as it is in the first steps, or in all | |
| `encoder_end` | the encoder learns in the first epochs only | Kim et al. 2019 |
| `aggressive` | the encoder trained to the end before each step of the decoder | He et al. 2019 |
| `kl_control` | the KL steered to a target | Shao et al. 2020 |
| `plateau` | a smaller rate when the bound stands still, and back to the best model | He et al. 2019, Kim et al. 2019 |
| `collapse_guard` | says when the latent is not used, and can act | |
"""
